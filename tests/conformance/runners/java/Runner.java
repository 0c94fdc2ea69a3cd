import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import dev.taffrail.Client;
import dev.taffrail.KeyReading;
import dev.taffrail.Member;
import dev.taffrail.Producer;
import dev.taffrail.Reading;
import dev.taffrail.StoredRecord;
import dev.taffrail.TaffrailException;
import dev.taffrail.Wire;
import dev.taffrail.v1.AppendBatch;
import dev.taffrail.v1.AppendRequest;
import dev.taffrail.v1.AppendedRange;
import dev.taffrail.v1.CommitResult;
import dev.taffrail.v1.CommittedOffset;
import dev.taffrail.v1.Condition;
import dev.taffrail.v1.Header;
import dev.taffrail.v1.LatestRecord;
import dev.taffrail.v1.Partition;
import dev.taffrail.v1.Position;
import dev.taffrail.v1.ReadKeyRequest;
import dev.taffrail.v1.ReadRequest;
import dev.taffrail.v1.Record;
import io.grpc.Context;
import io.grpc.TlsChannelCredentials;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Carries out the commands of the conformance kit with the Java client: one command a line on standard input, one answer a
 * line on standard output. See ../../README.md.
 */
final class Runner {
  private static final HexFormat HEX = HexFormat.of();

  private final Map<String, Object> named = new ConcurrentHashMap<>();
  private final Map<Long, Context.CancellableContext> underWay = new ConcurrentHashMap<>();

  /** The client does not have this. */
  private static final class Unsupported extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  public static void main(String[] arguments) throws IOException {
    Runner runner = new Runner();
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      JsonObject command = JsonParser.parseString(line).getAsJsonObject();
      Context.CancellableContext context = Context.ROOT.withCancellation();
      runner.underWay.put(command.get("id").getAsLong(), context);
      Thread thread = new Thread(() -> runner.answer(command, context));
      thread.setDaemon(true);
      thread.start();
    }
  }

  private void answer(JsonObject command, Context context) {
    JsonObject answer = new JsonObject();
    answer.add("id", command.get("id"));
    try {
      answer.add("ok", context.call(() -> carryOut(command)));
    } catch (Exception error) {
      answer.add("error", described(error));
    }
    underWay.remove(command.get("id").getAsLong());
    synchronized (System.out) {
      System.out.println(answer);
      System.out.flush();
    }
  }

  private JsonObject carryOut(JsonObject c) throws IOException {
    JsonObject ok = new JsonObject();
    switch (text(c, "do")) {
      case "connect" -> connect(c);
      case "disconnect" -> client(c).close();
      case "create_topic" -> client(c).createTopic(text(c, "topic"), c.get("partitions").getAsInt(), Map.of());
      case "describe_topic" -> ok.add("partitions", partitions(client(c).describeTopic(text(c, "topic")).getPartitionsList()));
      case "append" -> ok.add("ranges", ranges(client(c).append(append(c)).getBatches(0).getRangesList()));
      case "producer" -> {
        Producer.Options options = new Producer.Options().name(text(c, "name")).giveUpAfter(time(c, "give_up_after_ms", 120_000));
        named.put(text(c, "as"), client(c).producer(text(c, "topic"), options));
      }
      case "produce" -> ((Producer) of(c)).append(records(c));
      case "resend" -> ((Producer) of(c)).resend();
      case "read" -> named.put(text(c, "as"), inRoot(() -> client(c).read(read(c))));
      case "read_key" -> named.put(text(c, "as"), inRoot(() -> client(c).readKey(readKey(c))));
      case "next" -> next(c, ok);
      case "close" -> close(of(c));
      case "latest" -> ok.add("latest", latest(client(c).getLatest(text(c, "topic"), octetsOfAll(c, "keys"))));
      case "erase" -> client(c).erase(text(c, "topic"), octets(text(c, "key")));
      case "join" -> named.put(text(c, "as"), inRoot(() -> client(c).join(text(c, "group"), joining(c))));
      case "commit" -> ok.add("outcomes", outcomes(((Member) of(c)).commit()));
      case "leave" -> ((Member) of(c)).leave();
      case "committed" -> ok.add("offsets", offsets(client(c).committed(text(c, "group"))));
      case "cancel" -> underWay.get(c.get("what").getAsLong()).cancel(null);
      default -> throw new Unsupported();
    }
    return ok;
  }

  private void connect(JsonObject c) throws IOException {
    Client.Builder builder = Client.to(text(c, "address")).timeout(time(c, "timeout_ms", 30_000));
    if (c.has("gzip")) {
      builder.gzip();
    }
    if (c.has("ca")) {
      builder.credentials(TlsChannelCredentials.newBuilder().trustManager(new File(text(c, "ca"))).build());
    }
    if (c.has("token")) {
      builder.token(text(c, "token"));
    }
    named.put(text(c, "as"), builder.connect());
  }

  /** What goes on behind the command is not to end with it. */
  private static <T> T inRoot(java.util.concurrent.Callable<T> run) {
    try {
      return Context.ROOT.call(run);
    } catch (RuntimeException error) {
      throw error;
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }

  private Client client(JsonObject c) {
    return (Client) named.get(text(c, "client"));
  }

  private Object of(JsonObject c) {
    return named.get(text(c, "of"));
  }

  private static void close(Object of) {
    if (of instanceof Reading reading) {
      reading.close();
    } else {
      ((KeyReading) of).close();
    }
  }

  private void next(JsonObject c, JsonObject ok) {
    JsonArray records = new JsonArray();
    Object of = of(c);
    boolean isEnd = false;
    // A read has a context of its own, and is cancelled by closing it.
    Context.CancellationListener stop =
        context -> {
          if (of instanceof Reading reading) {
            reading.close();
          }
        };
    Context.current().addListener(stop, Runnable::run);
    while (records.size() < c.get("count").getAsInt() && !isEnd) {
      if (of instanceof Member member) {
        records.add(stored(member.next()));
        continue;
      }
      Iterator<StoredRecord> reading = cast(of).iterator();
      isEnd = !reading.hasNext();
      if (!isEnd) {
        records.add(stored(reading.next()));
      }
    }
    Context.current().removeListener(stop);
    ok.add("records", records);
    ok.addProperty("end", isEnd);
  }

  @SuppressWarnings("unchecked")
  private static Iterable<StoredRecord> cast(Object reading) {
    return (Iterable<StoredRecord>) reading;
  }

  private static AppendRequest append(JsonObject c) {
    AppendBatch.Builder batch = AppendBatch.newBuilder().setTopic(text(c, "topic")).addAllRecords(records(c));
    if (c.has("partition")) {
      batch.setPartition(c.get("partition").getAsInt());
    }
    AppendRequest.Builder request = AppendRequest.newBuilder().addBatches(batch).setReturnVersions(true);
    for (JsonElement each : list(c, "conditions")) {
      request.addConditions(condition(text(c, "topic"), each.getAsJsonObject()));
    }
    return request.build();
  }

  private static Condition condition(String topic, JsonObject wire) {
    if (wire.has("next_offset")) {
      return Wire.nextOffset(topic, wire.get("partition").getAsInt(), number(wire, "next_offset"));
    }
    ByteString key = octets(text(wire, "key"));
    if (wire.has("version")) {
      return Wire.atVersion(topic, key, number(wire, "version"));
    }
    return wire.has("absent") ? Wire.absent(topic, key) : Wire.exists(topic, key);
  }

  private static List<Record> records(JsonObject c) {
    List<Record> records = new ArrayList<>();
    for (JsonElement each : list(c, "records")) {
      JsonObject wire = each.getAsJsonObject();
      Record.Builder record = Record.newBuilder().setType(text(wire, "type")).setEventId(octets(text(wire, "event_id")));
      if (wire.has("key")) {
        record.setKey(octets(text(wire, "key")));
      }
      if (wire.has("value")) {
        record.setValue(octets(text(wire, "value")));
      }
      if (wire.has("timestamp_ms")) {
        record.setTimestampMs(Long.parseLong(text(wire, "timestamp_ms")));
      }
      for (JsonElement header : list(wire, "headers")) {
        JsonArray pair = header.getAsJsonArray();
        record.addHeaders(Header.newBuilder().setName(pair.get(0).getAsString()).setValue(octets(pair.get(1).getAsString())));
      }
      records.add(record.build());
    }
    return records;
  }

  private static ReadRequest read(JsonObject c) {
    ReadRequest.Builder request =
        ReadRequest.newBuilder().setTopic(text(c, "topic")).setFollow(c.get("follow").getAsBoolean());
    request.setStart(position(c.get("start")));
    for (JsonElement partition : list(c, "partitions")) {
      request.addPartitionsBuilder().setPartition(partition.getAsInt());
    }
    if (c.has("max_records")) {
      request.setMaxRecords(c.get("max_records").getAsLong());
    }
    for (ByteString key : octetsOfAll(c, "keys")) {
      request.getFilterBuilder().addKeys(key);
    }
    for (JsonElement type : list(c, "types")) {
      request.getFilterBuilder().addTypes(type.getAsString());
    }
    return request.build();
  }

  private static Position position(JsonElement wire) {
    if (wire instanceof JsonObject at) {
      return at.has("offset") ? Wire.at(number(at, "offset")) : Wire.since(Instant.ofEpochMilli(number(at, "time_ms")));
    }
    return wire != null && wire.getAsString().equals("latest") ? Wire.latest() : Wire.earliest();
  }

  private static ReadKeyRequest readKey(JsonObject c) {
    ReadKeyRequest.Builder request = ReadKeyRequest.newBuilder().setTopic(text(c, "topic")).setKey(octets(text(c, "key")));
    return c.has("from_version") ? request.setFromVersion(number(c, "from_version")).build() : request.build();
  }

  private static Member.Options joining(JsonObject c) {
    List<String> topics = new ArrayList<>();
    list(c, "topics").forEach(each -> topics.add(each.getAsString()));
    Member.Options options =
        new Member.Options()
            .topics(topics.toArray(String[]::new))
            .name(text(c, "name"))
            .sessionTimeout(time(c, "session_timeout_ms", 10_000))
            .commitInterval(time(c, "commit_interval_ms", 1_000));
    if (c.has("credit_records")) {
      options.credit(c.get("credit_records").getAsLong(), 8 << 20);
    }
    return c.has("commits_explicitly") ? options.commitsExplicitly() : options;
  }

  private static JsonArray partitions(List<Partition> partitions) {
    JsonArray wire = new JsonArray();
    for (Partition each : partitions) {
      JsonObject partition = new JsonObject();
      partition.addProperty("partition", each.getPartition());
      partition.addProperty("earliest", digits(each.getEarliest()));
      partition.addProperty("high_watermark", digits(each.getHighWatermark()));
      wire.add(partition);
    }
    return wire;
  }

  private static JsonArray ranges(List<AppendedRange> ranges) {
    JsonArray wire = new JsonArray();
    for (AppendedRange each : ranges) {
      JsonObject range = new JsonObject();
      JsonArray versions = new JsonArray();
      each.getVersionsList().forEach(version -> versions.add(digits(version)));
      range.addProperty("partition", each.getPartition());
      range.addProperty("first_offset", digits(each.getFirstOffset()));
      range.add("versions", versions);
      wire.add(range);
    }
    return wire;
  }

  private static JsonArray latest(List<LatestRecord> latest) {
    JsonArray wire = new JsonArray();
    for (LatestRecord each : latest) {
      JsonObject found = new JsonObject();
      found.addProperty("version", digits(each.getVersion()));
      boolean isThere = each.hasRecord();
      found.add("record", isThere ? stored(each.getPartition(), each.getRecord()) : JsonNull.INSTANCE);
      wire.add(found);
    }
    return wire;
  }

  private static JsonArray outcomes(List<CommitResult> results) {
    JsonArray wire = new JsonArray();
    results.forEach(each -> wire.add(each.getOutcome().name().replace("COMMIT_OUTCOME_", "")));
    return wire;
  }

  private static JsonArray offsets(List<CommittedOffset> offsets) {
    JsonArray wire = new JsonArray();
    for (CommittedOffset each : offsets) {
      JsonArray offset = new JsonArray();
      offset.add(each.getTopic());
      offset.add(each.getPartition());
      offset.add(digits(each.getNextOffset()));
      wire.add(offset);
    }
    return wire;
  }

  private static JsonObject stored(StoredRecord record) {
    return stored(record.partition(), record.record());
  }

  private static JsonObject stored(int partition, Record record) {
    JsonObject wire = new JsonObject();
    wire.addProperty("partition", partition);
    wire.addProperty("offset", digits(record.getOffset()));
    wire.addProperty("type", record.getType());
    wire.addProperty("timestamp_ms", Long.toString(record.getTimestampMs()));
    wire.addProperty("event_id", digits(record.getEventId()));
    wire.addProperty("erased", record.hasErased());
    wire.add("key", JsonNull.INSTANCE);
    wire.add("value", JsonNull.INSTANCE);
    wire.add("version", JsonNull.INSTANCE);
    if (record.hasKey()) {
      wire.addProperty("key", digits(record.getKey()));
    }
    if (record.hasValue()) {
      wire.addProperty("value", digits(record.getValue()));
    }
    if (record.hasVersion()) {
      wire.addProperty("version", digits(record.getVersion()));
    }
    JsonArray headers = new JsonArray();
    for (Header each : record.getHeadersList()) {
      JsonArray header = new JsonArray();
      header.add(each.getName());
      header.add(digits(each.getValue()));
      headers.add(header);
    }
    wire.add("headers", headers);
    return wire;
  }

  private static JsonObject described(Exception error) {
    JsonObject wire = new JsonObject();
    wire.addProperty("kind", kind(error));
    wire.addProperty("message", String.valueOf(error.getMessage()));
    JsonObject metadata = new JsonObject();
    JsonArray failed = new JsonArray();
    if (error instanceof TaffrailException told) {
      wire.addProperty("reason", told.reason());
      told.metadata().forEach(metadata::addProperty);
    }
    if (error instanceof TaffrailException.ConditionFailed conflict) {
      conflict.failed()
          .forEach(
              each -> {
                JsonArray pair = new JsonArray();
                pair.add(each.getIndex());
                pair.add(digits(each.hasNextOffset() ? each.getNextOffset() : each.getVersion()));
                failed.add(pair);
              });
    }
    wire.add("metadata", metadata);
    wire.add("failed", failed);
    return wire;
  }

  private static String kind(Exception error) {
    if (error instanceof Unsupported) {
      return "unsupported";
    } else if (error instanceof TaffrailException.ConditionFailed) {
      return "conflict";
    } else if (error instanceof TaffrailException.Fenced) {
      return "fenced";
    } else if (error instanceof TaffrailException.NotFound) {
      return "not_found";
    } else if (error instanceof TaffrailException.AlreadyExists) {
      return "already_exists";
    } else if (error instanceof TaffrailException.OffsetOutOfRange) {
      return "out_of_range";
    } else if (error instanceof TaffrailException.DamagedRecords) {
      return "damaged";
    } else if (error instanceof TaffrailException.Refused) {
      return "refused";
    } else if (error instanceof TaffrailException.OutcomeUnknown) {
      return "outcome_unknown";
    }
    return error instanceof TaffrailException.Unavailable ? "unavailable" : "bug";
  }

  private static Duration time(JsonObject c, String name, long otherwise) {
    return Duration.ofMillis(c.has(name) ? c.get(name).getAsLong() : otherwise);
  }

  private static String text(JsonObject wire, String name) {
    return wire.has(name) ? wire.get(name).getAsString() : "";
  }

  private static JsonArray list(JsonObject wire, String name) {
    return wire.has(name) ? wire.getAsJsonArray(name) : new JsonArray();
  }

  private static long number(JsonObject wire, String name) {
    return name.equals("time_ms") ? Long.parseLong(text(wire, name)) : Long.parseUnsignedLong(text(wire, name));
  }

  private static List<ByteString> octetsOfAll(JsonObject wire, String name) {
    List<ByteString> all = new ArrayList<>();
    list(wire, name).forEach(each -> all.add(octets(each.getAsString())));
    return all;
  }

  private static ByteString octets(String digits) {
    return ByteString.copyFrom(HEX.parseHex(digits));
  }

  private static String digits(ByteString octets) {
    return HEX.formatHex(octets.toByteArray());
  }

  private static String digits(long number) {
    return Long.toUnsignedString(number);
  }
}
