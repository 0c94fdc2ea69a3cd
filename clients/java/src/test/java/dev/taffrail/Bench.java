package dev.taffrail;

import com.google.protobuf.ByteString;
import dev.taffrail.v1.ReadRequest;
import dev.taffrail.v1.ReadResponse;
import dev.taffrail.v1.Record;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/**
 * Measures this client: appends of 100 records of 1,000 bytes, one after the other and many at a time, and a follow that reads
 * them.
 *
 * <p>Its arguments are the address of a broker without topics, and for how many seconds to append. It prints records a second,
 * as JSON.
 */
final class Bench {
  private static final int RECORDS_PER_REQUEST = 100;
  private static final int RECORD_BYTES = 1000;
  private static final int UNDER_WAY = 16;
  private static final int WARM_UP_ROUNDS = 5;

  private final Client client;
  private final String topic;
  private final AtomicInteger appended = new AtomicInteger();

  private Bench(Client client, String topic) {
    this.client = client;
    this.topic = topic;
    client.createTopic(topic);
  }

  public static void main(String[] arguments) throws Exception {
    Duration each = Duration.ofMillis((long) (Double.parseDouble(arguments[1]) * 1000));
    try (Client client = Client.connect(arguments[0])) {
      // What is compiled, allocated and connected once is not measured. Compiling takes long on few processors.
      for (int round = 0; round < WARM_UP_ROUNDS; round++) {
        Bench warmUp = new Bench(client, "warm-up");
        warmUp.appendOneByOne(each);
        warmUp.appendManyAtATime(each);
        warmUp.follow();
        client.deleteTopic(warmUp.topic);
      }
      Bench bench = new Bench(client, "bench");
      double one = bench.appendOneByOne(each);
      double many = bench.appendManyAtATime(each);
      System.out.printf("{\"one\": %.0f, \"many\": %.0f, \"follow\": %.0f}%n", one, many, bench.follow());
    }
  }

  /** A producer appends a request when the one before is stored. */
  private double appendOneByOne(Duration least) throws Exception {
    Producer producer = client.producer(topic);
    return measure(least, 1, producer::append);
  }

  /** Appends with several requests under way. */
  private double appendManyAtATime(Duration least) throws Exception {
    return measure(least, UNDER_WAY, records -> client.append(topic, records));
  }

  private double measure(Duration least, int threads, Consumer<List<Record>> append) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    int before = appended.get();
    long start = System.nanoTime();
    List<Future<?>> running = new ArrayList<>();
    for (int thread = 0; thread < threads; thread++) {
      running.add(
          pool.submit(
              () -> {
                while (System.nanoTime() - start < least.toNanos()) {
                  append.accept(nextRecords());
                }
              }));
    }
    for (Future<?> each : running) {
      each.get();
    }
    pool.shutdown();
    return perSecond(appended.get() - before, start);
  }

  /** The records of a request. Each begins with its number. */
  private List<Record> nextRecords() {
    int first = appended.getAndAdd(RECORDS_PER_REQUEST);
    List<Record> records = new ArrayList<>(RECORDS_PER_REQUEST);
    for (int number = first; number < first + RECORDS_PER_REQUEST; number++) {
      byte[] value = ByteBuffer.allocate(RECORD_BYTES).putInt(number).array();
      records.add(Record.newBuilder().setValue(ByteString.copyFrom(value)).build());
    }
    return records;
  }

  /** Reads all that was appended, and checks that each record is there once. */
  private double follow() {
    long start = System.nanoTime();
    int all = appended.get();
    BitSet seen = new BitSet(all);
    try (Reading reading = client.read(ReadRequest.newBuilder().setTopic(topic).setFollow(true).build())) {
      for (int count = 0; count < all; ) {
        ReadResponse batch = reading.nextBatch().orElseThrow();
        for (Record record : batch.getRecordsList()) {
          int number = record.getValue().asReadOnlyByteBuffer().getInt();
          if (record.getValue().size() != RECORD_BYTES || seen.get(number)) {
            throw new IllegalStateException("record " + number + " came twice, or was changed");
          }
          seen.set(number);
          count++;
        }
      }
    }
    return perSecond(all, start);
  }

  private static double perSecond(int records, long start) {
    return records * 1e9 / (System.nanoTime() - start);
  }
}
