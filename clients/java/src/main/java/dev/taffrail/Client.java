package dev.taffrail;

import com.google.protobuf.ByteString;
import dev.taffrail.v1.*;
import dev.taffrail.v1.Record;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Calls a broker. It connects when it is first used, and again when that is lost. One is enough for a program, and may be
 * used by all of its threads.
 *
 * <p>What is asked and answered are the messages of {@code dev.taffrail.v1}, which are documented in {@code proto/}. Offsets,
 * versions and ids are unsigned: those above 2^63 are negative. A call ends with the deadline or the cancellation of {@link
 * Context#current}, or an interrupt of its thread, which leave the outcome of a change open.
 */
public final class Client implements AutoCloseable {
  /** The version of this client, and of the broker that it was made with. */
  public static final String VERSION = "0.1.0";

  /** How many bytes may be sent to a read ahead: four of the broker's responses. */
  private static final int WINDOW_BYTES = 4 << 20;

  /** Targets whose traffic does not leave this machine: sockets and the loopback. */
  private static final Pattern HERE =
      Pattern.compile(
          "unix:.*|(dns:(///)?)?(localhost|\\[::1]|127(\\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3})(:[0-9]+)?");

  /** The largest response that is taken, and asked for where a request does not say another. */
  static final int MAX_RESPONSE_BYTES = 16 << 20;

  private final Calls calls;

  /** How to connect. */
  public static final class Builder {
    private final String address;
    private ChannelCredentials credentials;
    private Duration timeout = Duration.ofSeconds(30);
    private String token;
    private boolean mayTokenGoUnencrypted;
    private boolean isCompressed;

    private Builder(String address) {
      this.address = address;
    }

    /** TLS: {@link TlsChannelCredentials}, as for a broker or a proxy that speaks it. */
    public Builder credentials(ChannelCredentials credentials) {
      this.credentials = credentials;
      return this;
    }

    /**
     * Sent along with every call as {@code authorization: Bearer TOKEN}. To another machine it goes with TLS only, unless
     * {@link #tokenWithoutEncryption} is said.
     */
    public Builder token(String token) {
      if (token != null && !token.matches("[!-~]+")) {
        throw new IllegalArgumentException("that is no token: it is empty, or has signs in it that no token has");
      }
      this.token = token;
      return this;
    }

    /** Sends the token without TLS to other machines, too. */
    public Builder tokenWithoutEncryption() {
      mayTokenGoUnencrypted = true;
      return this;
    }

    /** Compresses what is sent. What the broker sends is compressed in any case where that is worth it. */
    public Builder gzip() {
      isCompressed = true;
      return this;
    }

    /** How long to wait for an answer. Default: 30 s. Reads and members are not bounded by it. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /**
     * @throws IllegalArgumentException the token would go to another machine without encryption
     */
    public Client connect() {
      String target = address.replaceFirst("^https?://", "").replaceFirst("(?<=:[0-9]{1,5})/$", "");
      boolean isUrlOfTls = address.startsWith("https://");
      ChannelCredentials own = isUrlOfTls ? TlsChannelCredentials.create() : InsecureChannelCredentials.create();
      ChannelCredentials chosen = credentials == null ? own : credentials;
      boolean isEncrypted = !(chosen instanceof InsecureChannelCredentials);
      if (token != null && !isEncrypted && !mayTokenGoUnencrypted && !HERE.matcher(target).matches()) {
        throw new IllegalArgumentException(
            "the token would go to " + address + " without encryption; use TLS, or allow it with tokenWithoutEncryption()");
      }
      // grpc-java refuses responses above 4 MiB, of which a topic with larger records has some, and errors with more than
      // 8 KiB of details; and does not notice a connection that is there on one side only.
      ManagedChannelBuilder<?> channel =
          Grpc.newChannelBuilder(target, chosen)
              .maxInboundMessageSize(MAX_RESPONSE_BYTES)
              .maxInboundMetadataSize(64 << 10)
              .keepAliveTime(20, TimeUnit.SECONDS)
              .keepAliveTimeout(10, TimeUnit.SECONDS)
              .userAgent("taffrail-java/" + VERSION);
      if (channel instanceof NettyChannelBuilder netty) {
        // By default it would measure again and again how much is on the way, and read less at once.
        netty.flowControlWindow(WINDOW_BYTES);
      }
      if (!isEncrypted) {
        // A proxy of the machine is for what leaves the network; it need not reach a broker that is near.
        channel.proxyDetector(to -> null);
      }
      if (token != null) {
        Metadata headers = new Metadata();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        channel.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
      }
      if (isCompressed) {
        channel.intercept(new Gzip());
      }
      return new Client(channel.build(), timeout);
    }
  }

  private static final class Gzip implements ClientInterceptor {
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
      return next.newCall(method, options.withCompression("gzip"));
    }
  }

  private Client(ManagedChannel channel, Duration timeout) {
    calls = new Calls(channel, timeout);
  }

  /** A client for the broker at HOST:PORT, or a URL: {@code https://} is TLS. */
  public static Client connect(String address) {
    return to(address).connect();
  }

  public static Builder to(String address) {
    return new Builder(address);
  }

  /** The connection, for stubs that are generated for what this class does not have. */
  public ManagedChannel channel() {
    return calls.channel;
  }

  /**
   * Ends every call that is under way. Whoever waits for records gets {@link TaffrailException.Closed}, as every call after it
   * does; what becomes of a change that was sent is not known.
   */
  @Override
  public void close() {
    calls.close();
  }

  public Topic createTopic(String name) {
    return createTopic(name, 1, Map.of());
  }

  /** The settings are those of topics.proto: {@code Map.of("retention.ms", "30d")}. */
  public Topic createTopic(String name, int partitions, Map<String, String> settings) {
    CreateTopicRequest.Builder request = CreateTopicRequest.newBuilder().setName(name).setPartitions(partitions);
    return calls.change(Calls.CREATE_TOPIC, request.putAllSettings(settings).build()).getTopic();
  }

  /** The topics whose names begin with {@code prefix}, sorted by name. */
  public List<Topic> topics(String prefix) {
    List<Topic> topics = new ArrayList<>();
    ListTopicsRequest.Builder request = ListTopicsRequest.newBuilder().setPrefix(prefix);
    while (true) {
      ListTopicsResponse page = calls.ask(Calls.LIST_TOPICS, request.build());
      topics.addAll(page.getTopicsList());
      if (!page.getMore()) {
        return topics;
      }
      request.setAfter(topics.get(topics.size() - 1).getName());
    }
  }

  /** The broker's limits, by name, with the values that are configured: record_bytes, append_records, ... */
  public Map<String, Long> limits() {
    return calls.ask(Calls.LIMITS, LimitsRequest.getDefaultInstance()).getLimitsList().stream()
        .collect(Collectors.toMap(Limit::getName, Limit::getMost));
  }

  /** Describes a topic and its partitions. */
  public DescribeTopicResponse describeTopic(String name) {
    return calls.ask(Calls.DESCRIBE_TOPIC, DescribeTopicRequest.newBuilder().setName(name).build());
  }

  /** Changes settings: all of it, or nothing. With {@code dry_run} it only says what would be removed at once. */
  public AlterTopicResponse alterTopic(AlterTopicRequest request) {
    return request.getDryRun() ? calls.ask(Calls.ALTER_TOPIC, request) : calls.change(Calls.ALTER_TOPIC, request);
  }

  /** Deletes a topic with all its records. */
  public void deleteTopic(String name) {
    calls.change(Calls.DELETE_TOPIC, DeleteTopicRequest.newBuilder().setName(name).build());
  }

  /** Deletes the records of a partition before an offset. The partition's earliest offset now. */
  public long trim(TrimRequest request) {
    return calls.change(Calls.TRIM, request).getEarliest();
  }

  /**
   * Appends to one topic: all records, or none. When it returns, they are synced to disk.
   *
   * <p>It is not tried again: after {@link TaffrailException.OutcomeUnknown} they are stored, or not. A producer finds out.
   *
   * @param conditions what must hold for it to happen, as {@link Wire#absent} and its like make them
   * @throws TaffrailException.ConditionFailed where one does not hold; it says what is the case instead
   */
  public AppendedBatch append(String topic, List<Record> records, Condition... conditions) {
    AppendRequest.Builder request = AppendRequest.newBuilder().addAllConditions(List.of(conditions));
    request.addBatchesBuilder().setTopic(topic).addAllRecords(records);
    return append(request.build()).getBatches(0);
  }

  /** The same for any number of topics and partitions, and with offsets of groups: all of it happens, or nothing. */
  public AppendResponse append(AppendRequest request) {
    return calls.change(Calls.APPEND, request);
  }

  /** A producer for a topic, whose appends are stored exactly once. */
  public Producer producer(String topic, Producer.Options options) {
    Topic described = describeTopic(topic).getTopic();
    OpenProducerRequest request = OpenProducerRequest.newBuilder().setName(options.name()).build();
    return new Producer(calls, described, calls.change(Calls.OPEN_PRODUCER, request).getProducer(), options);
  }

  public Producer producer(String topic) {
    return producer(topic, new Producer.Options());
  }

  /** Reads a topic from its earliest record up to its end as it is now. */
  public Reading read(String topic) {
    return read(ReadRequest.newBuilder().setTopic(topic).build());
  }

  /** Reads as the request says; with {@code follow} on and on. Where it starts is settled when this returns. */
  public Reading read(ReadRequest request) {
    return read(request, Duration.ofMinutes(2));
  }

  /**
   * @param giveUpAfter for how long the broker may be away
   */
  public Reading read(ReadRequest request, Duration giveUpAfter) {
    return new Reading(calls, request, giveUpAfter);
  }

  /** Reads one entity by version, up to its latest as it is now. */
  public KeyReading readKey(ReadKeyRequest request) {
    return new KeyReading(calls, request);
  }

  /** The latest record and version of up to 1,000 entities, in order, as they were at one moment. */
  public List<LatestRecord> getLatest(String topic, List<ByteString> keys) {
    GetLatestRequest request =
        GetLatestRequest.newBuilder()
            .setTopic(topic)
            .addAllKeys(keys)
            .setMaxResponseBytes(MAX_RESPONSE_BYTES)
            .build();
    List<LatestRecord> latest = new ArrayList<>();
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      Iterator<GetLatestResponse> responses = calls.read(Calls.GET_LATEST, request, context);
      responses.forEachRemaining(each -> latest.addAll(each.getLatestList()));
      return latest;
    } catch (RuntimeException error) {
      throw calls.failure(error, false);
    }
  }

  /** Erases an entity: when it returns, no read returns its keys, values and headers any more. */
  public Erasure erase(String topic, ByteString key) {
    return calls.change(Calls.ERASE_KEY, EraseKeyRequest.newBuilder().setTopic(topic).setKey(key).build()).getErasure();
  }

  /** How far the removal of an entity's bytes from the files has come. */
  public Erasure describeErasure(long id) {
    return calls.ask(Calls.DESCRIBE_ERASURE, DescribeErasureRequest.newBuilder().setId(id).build()).getErasure();
  }

  /** Joins a consumer group, which is made if there is none. */
  public Member join(String group, Member.Options options) {
    return new Member(calls, group, options);
  }

  /** The committed offsets of a group. */
  public List<CommittedOffset> committed(String group) {
    List<CommittedOffset> committed = new ArrayList<>();
    FetchOffsetsRequest.Builder request = FetchOffsetsRequest.newBuilder().setGroup(group);
    while (true) {
      FetchOffsetsResponse page = calls.ask(Calls.FETCH_OFFSETS, request.build());
      committed.addAll(page.getOffsetsList());
      if (!page.getMore()) {
        return committed;
      }
      CommittedOffset last = committed.get(committed.size() - 1);
      request.setAfter(GroupPartition.newBuilder().setTopic(last.getTopic()).setPartition(last.getPartition()));
    }
  }

  /**
   * Makes a group that goes on where the other one is.
   *
   * @param replay it reads everything again instead, and what the other one has handled comes as {@link
   *     StoredRecord#isReplayed}
   */
  public void forkGroup(String group, String newGroup, boolean replay) {
    ForkGroupRequest.Builder request = ForkGroupRequest.newBuilder().setGroup(group).setNewGroup(newGroup);
    calls.change(Calls.FORK_GROUP, request.setReplay(replay).build());
  }

  /** Deletes a group that has no members, and its offsets. */
  public void deleteGroup(String group) {
    calls.change(Calls.DELETE_GROUP, DeleteGroupRequest.newBuilder().setGroup(group).build());
  }
}
