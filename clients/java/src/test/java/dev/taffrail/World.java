package dev.taffrail;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;

import com.google.protobuf.ByteString;
import dev.taffrail.testing.TestBroker;
import dev.taffrail.v1.AppendRequest;
import dev.taffrail.v1.CommittedOffset;
import dev.taffrail.v1.Record;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.InetAddress;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.TestInfo;

/** What the tests share: a broker of their own, a proxy that can lose what passes it, and waiting. */
final class World {
  static final ByteString KEY = ByteString.copyFromUtf8("key");

  /** The tag of tests in which the broker is away for a while; the broker of other tests is in memory. */
  static final String ON_DISK = "on-disk";

  final TestBroker broker;
  private final Deque<AutoCloseable> ends = new ArrayDeque<>();
  final Client client;

  private World(TestBroker broker) {
    this.broker = broker;
    client = connect(broker.address());
  }

  static World of(TestInfo test) {
    return new World(test.getTags().contains(ON_DISK) ? TestBroker.runOnDisk() : TestBroker.run());
  }

  Client connect(String address) {
    return after(Client.connect(address));
  }

  <T extends AutoCloseable> T after(T end) {
    ends.push(end);
    return end;
  }

  Proxy proxy() {
    return after(new Proxy(broker.address()));
  }

  void close() throws Exception {
    for (AutoCloseable end : ends) {
      end.close();
    }
    broker.close();
  }

  static List<Record> numbered(int... numbers) {
    return IntStream.of(numbers).mapToObj(each -> Wire.record("key", String.valueOf(each))).toList();
  }

  /** Appends records with these numbers once the broker is there. */
  void append(String topic, int... numbers) {
    untilAnswered();
    client.append(topic, numbered(numbers));
  }

  void appendTo(String topic, int partition, int... numbers) {
    AppendRequest.Builder request = AppendRequest.newBuilder();
    var batch = request.addBatchesBuilder().setTopic(topic).setPartition(partition);
    numbered(numbers).forEach(each -> batch.addRecords(each.toBuilder().clearKey()));
    client.append(request.build());
  }

  void untilAnswered() {
    until(
        () -> {
          try {
            client.topics("");
            return true;
          } catch (TaffrailException.Unavailable away) {
            return false;
          }
        });
  }

  long end(String topic) {
    return client.describeTopic(topic).getPartitions(0).getHighWatermark();
  }

  List<String> values(String topic) {
    try (Reading reading = client.read(topic)) {
      List<String> values = new ArrayList<>();
      reading.forEach(each -> values.add(each.value().toStringUtf8()));
      return values;
    }
  }

  Map<String, Long> committed() {
    Map<String, Long> committed = new TreeMap<>();
    for (CommittedOffset each : client.committed("g")) {
      committed.put(each.getTopic() + "/" + each.getPartition(), each.getNextOffset());
    }
    return committed;
  }

  Member join(Client client, Member.Options options) {
    return after(client.join("g", options.topics("t")));
  }

  static List<String> take(Reading reading, int number) {
    return IntStream.range(0, number).mapToObj(each -> reading.next().value().toStringUtf8()).toList();
  }

  static List<String> take(Member member, int number) {
    return IntStream.range(0, number).mapToObj(each -> member.next().value().toStringUtf8()).toList();
  }

  static void until(BooleanSupplier holds) {
    while (!holds.getAsBoolean()) {
      pause();
    }
  }

  static void pause() {
    try {
      Thread.sleep(10);
    } catch (InterruptedException interrupted) {
      throw new IllegalStateException(interrupted);
    }
  }

  /** Runs it in another thread. */
  static <T> CompletableFuture<T> beside(Callable<T> run) {
    CompletableFuture<T> result = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                result.complete(run.call());
              } catch (Throwable error) {
                result.completeExceptionally(error);
              }
            });
    thread.setDaemon(true);
    thread.start();
    return result;
  }

  static <E extends Throwable> E failureOf(CompletableFuture<?> future, Class<E> kind) throws InterruptedException {
    try {
      throw new AssertionError("it has not failed: " + future.get());
    } catch (ExecutionException error) {
      return assertInstanceOf(kind, error.getCause());
    }
  }

  /** Stands between a client and the broker. */
  static final class Proxy implements AutoCloseable {
    private final ServerSocket listener;
    private final String broker;
    private final List<Socket> sockets = new ArrayList<>();
    private CountDownLatch passes = new CountDownLatch(0);

    Proxy(String broker) {
      this.broker = broker;
      try {
        listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
      } catch (IOException error) {
        throw new IllegalStateException(error);
      }
      beside(this::accept);
    }

    String address() {
      return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Passes nothing on that the broker says from now on. */
    synchronized void holdAnswers() {
      passes = new CountDownLatch(1);
    }

    /** Ends all connections, with what was held; new ones are as they should be. */
    synchronized void cut() {
      sockets.forEach(Proxy::close);
      sockets.clear();
      passes.countDown();
    }

    @Override
    public void close() throws IOException {
      listener.close();
      cut();
    }

    private Void accept() throws IOException {
      while (true) {
        Socket client = listener.accept();
        try {
          String[] address = broker.split(":");
          Socket server = new Socket(address[0], Integer.parseInt(address[1]));
          synchronized (this) {
            sockets.addAll(List.of(client, server));
          }
          beside(() -> pump(client, server, false));
          beside(() -> pump(server, client, true));
        } catch (IOException away) {
          client.close();
        }
      }
    }

    private Void pump(Socket source, Socket sink, boolean isAnswer) throws Exception {
      byte[] buffer = new byte[1 << 16];
      try (source; sink) {
        for (int read; (read = source.getInputStream().read(buffer)) > 0; ) {
          if (isAnswer) {
            CountDownLatch latch;
            synchronized (this) {
              latch = passes;
            }
            latch.await();
          }
          sink.getOutputStream().write(buffer, 0, read);
        }
      }
      return null;
    }

    private static void close(Socket socket) {
      try {
        socket.close();
      } catch (IOException ignored) {
        // It is gone either way.
      }
    }
  }
}
