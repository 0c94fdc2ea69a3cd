package dev.taffrail;

import com.google.protobuf.ByteString;
import dev.taffrail.TaffrailException.OutcomeUnknown;
import dev.taffrail.v1.AppendBatch;
import dev.taffrail.v1.AppendRequest;
import dev.taffrail.v1.AppendResponse;
import dev.taffrail.v1.Record;
import dev.taffrail.v1.Topic;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.ToIntFunction;

/**
 * Appends to one topic, one request at a time: {@link #append} waits for those before it. It may be used by many threads.
 *
 * <p>Every append is numbered, and sent again with its number when its answer is lost, so that it is stored once however
 * often it is sent. For more throughput append more records at a time, or use more producers.
 */
public final class Producer {
  /** The options of a producer. */
  public static final class Options {
    private String name = "";
    private Duration giveUpAfter = Duration.ofMinutes(2);
    private Duration attemptTimeout = Duration.ofSeconds(30);
    private boolean returnVersions;

    /** Fences: once another producer of this name is opened, this one appends nothing more. */
    public Options name(String name) {
      this.name = name;
      return this;
    }

    /** For how long an append is tried again. Default: 2 min. */
    public Options giveUpAfter(Duration time) {
      giveUpAfter = time;
      return this;
    }

    /** How long to wait for one answer. Default: 30 s. */
    public Options attemptTimeout(Duration time) {
      attemptTimeout = time;
      return this;
    }

    /** Ask for the version of each record. */
    public Options returnVersions() {
      returnVersions = true;
      return this;
    }

    String name() {
      return name;
    }
  }

  /** After these the producer appends nothing more. */
  private static final Set<String> FINAL = Set.of("FENCED", "UNKNOWN_PRODUCER", "OUT_OF_SEQUENCE", "TOPIC_RECREATED");

  private final Calls calls;
  private final Topic topic;
  private final dev.taffrail.v1.Producer identity;
  private final Options options;
  private final Map<Integer, Long> nextSequence = new HashMap<>();
  /** The partition for records without a key. */
  private int rotating;
  /** The request whose outcome is not known yet, and whether an attempt to send it may have stored it. */
  private AppendRequest unresolved;
  private boolean isInDoubt;
  private TaffrailException ended;

  Producer(Calls calls, Topic topic, dev.taffrail.v1.Producer identity, Options options) {
    this.calls = calls;
    this.topic = topic;
    this.identity = identity;
    this.options = options;
  }

  /**
   * Appends all records, or none, to their keys' partitions. There is one batch in the answer for each partition.
   *
   * @throws TaffrailException.Fenced another producer of this name was opened; final
   * @throws OutcomeUnknown the broker could not be asked for too long, or the thread was interrupted. {@link #resend} goes on
   *     asking; other appends are refused until it has succeeded
   */
  public AppendResponse append(List<Record> records) {
    return append(records, each -> each.hasKey() ? partitionOf(each.getKey()) : rotating);
  }

  /** {@link #append} to one partition. */
  public AppendResponse appendTo(int partition, List<Record> records) {
    return append(records, each -> partition);
  }

  /**
   * Sends the append again whose outcome is not known, with its number: it is stored once, whatever became of it before. Empty
   * if there is no such append.
   */
  public synchronized Optional<AppendResponse> resend() {
    checkEnded();
    return unresolved == null ? Optional.empty() : Optional.of(deliver());
  }

  private synchronized AppendResponse append(List<Record> records, ToIntFunction<Record> partitionOf) {
    checkEnded();
    if (unresolved != null) {
      throw new OutcomeUnknown("what became of the append before is not known: find out with resend()", null);
    }
    Map<Integer, AppendBatch.Builder> batches = new TreeMap<>();
    for (Record record : records) {
      batches.computeIfAbsent(partitionOf.applyAsInt(record), this::batch).addRecords(record);
    }
    rotating = (rotating + 1) % topic.getPartitions();
    AppendRequest.Builder request =
        AppendRequest.newBuilder().setProducer(identity).setReturnVersions(options.returnVersions);
    batches.values().forEach(request::addBatches);
    unresolved = request.build();
    isInDoubt = false;
    return deliver();
  }

  private AppendBatch.Builder batch(int partition) {
    return AppendBatch.newBuilder()
        .setTopic(topic.getName())
        .setTopicId(topic.getId())
        .setPartition(partition)
        .setSequence(nextSequence.getOrDefault(partition, 0L));
  }

  private int partitionOf(ByteString key) {
    return Wire.partitionOf(key, topic.getPartitions());
  }

  private void checkEnded() {
    if (ended != null) {
      throw ended;
    }
  }

  /** Sends what is unresolved until it is answered. */
  private AppendResponse deliver() {
    Retries retries = new Retries(options.giveUpAfter);
    while (true) {
      try {
        AppendResponse response = calls.unary(Calls.APPEND, unresolved, options.attemptTimeout, true);
        for (AppendBatch batch : unresolved.getBatchesList()) {
          nextSequence.put(batch.getPartition(), batch.getSequence() + 1);
        }
        unresolved = null;
        return response;
      } catch (TaffrailException failure) {
        isInDoubt |= failure instanceof OutcomeUnknown;
        if (FINAL.contains(failure.reason())) {
          ended = failure;
        }
        awaitAnotherTry(retries, failure);
      }
    }
  }

  private void awaitAnotherTry(Retries retries, TaffrailException failure) {
    try {
      retries.await(failure);
    } catch (TaffrailException last) {
      if (!isInDoubt) {
        // Nothing of the request is stored, and its sequence numbers are free again.
        unresolved = null;
      } else if (last != ended && !(last instanceof OutcomeUnknown)) {
        throw new OutcomeUnknown("an attempt to append was not answered, and the last one failed", last);
      }
      throw last;
    }
  }
}
