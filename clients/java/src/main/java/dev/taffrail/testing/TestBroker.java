package dev.taffrail.testing;

import com.google.protobuf.Message;
import dev.taffrail.v1.AdvanceRequest;
import dev.taffrail.v1.AdvanceResponse;
import dev.taffrail.v1.CrashRequest;
import dev.taffrail.v1.CrashResponse;
import dev.taffrail.v1.GetClockRequest;
import dev.taffrail.v1.GetClockResponse;
import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** A broker for tests: the real one, in memory, on a port of its own. It ends with this program, however that ends. */
public final class TestBroker implements AutoCloseable {
  private static final Pattern LISTENING = Pattern.compile("\"address\":\"([^\"]+)\"");
  private static final long PATIENCE_SECONDS = 30;

  private final Path folder;
  private final boolean isOnDisk;
  private final Thread atExit = new Thread(this::remove);
  private String address = "127.0.0.1:0";
  private Process process;
  private boolean isClosed;

  private TestBroker(Path folder, boolean isOnDisk) {
    this.folder = folder;
    this.isOnDisk = isOnDisk;
    Runtime.getRuntime().addShutdownHook(atExit);
  }

  /** Runs {@code taffrail serve --ephemeral}: what TAFFRAIL_BINARY names, or taffrail on the PATH. */
  public static TestBroker run() {
    return run(false);
  }

  /**
   * Runs one with its data in a directory that is removed with it. It can be away for a while, by kill or stop and then
   * start; its power cannot be cut, nor its clock moved.
   */
  public static TestBroker runOnDisk() {
    return run(true);
  }

  private static TestBroker run(boolean isOnDisk) {
    TestBroker broker;
    try {
      broker = new TestBroker(Files.createTempDirectory("taffrail-"), isOnDisk);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    try {
      broker.serve();
      return broker;
    } catch (RuntimeException error) {
      broker.close();
      throw error;
    }
  }

  /** Where it is, also after a crash or a restart: HOST:PORT. */
  public String address() {
    return address;
  }

  /** The data directory of a broker on the disk. */
  public Path dataDir() {
    return folder.resolve("data");
  }

  /** Starts it again on what is on the disk, and waits until it can be connected to. */
  public void start() {
    if (!isOnDisk) {
      throw new IllegalStateException("its data was in memory: use crash instead of kill and start, or runOnDisk");
    }
    if (isClosed || process != null) {
      throw new IllegalStateException(isClosed ? "its data was removed: it is closed" : "it runs: kill or stop it first");
    }
    serve();
  }

  private void serve() {
    String binary = Optional.ofNullable(System.getenv("TAFFRAIL_BINARY")).orElse("taffrail");
    List<String> command = new ArrayList<>(List.of(binary, "serve", "--listen", address));
    if (isOnDisk) {
      command.addAll(List.of("--with-parent", "--data-dir", dataDir().toString(), "--log-format", "json"));
    } else {
      command.add("--ephemeral");
    }
    try {
      Redirect log = Redirect.appendTo(folder.resolve("log").toFile());
      process = new ProcessBuilder(command).redirectError(log).start();
      Matcher listening = LISTENING.matcher(String.valueOf(process.inputReader().readLine()));
      if (!listening.find()) {
        throw new IllegalStateException("the broker ended instead of serving:\n" + log());
      }
      address = listening.group(1);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Cuts its power, and waits until it has recovered. All connections break; what was acknowledged is there. */
  public void crash() {
    on(
        channel -> {
          try {
            call(channel, "Admin/Crash", CrashRequest.getDefaultInstance(), CrashResponse.getDefaultInstance());
          } catch (StatusRuntimeException broken) {
            if (broken.getStatus().getCode() != Code.UNAVAILABLE) {
              throw broken;
            }
          }
          GetClockRequest clock = GetClockRequest.getDefaultInstance();
          call(channel, "Broker/GetClock", clock, GetClockResponse.getDefaultInstance());
        });
  }

  /** Lets time pass for it at once: members time out, records expire. */
  public void advance(Duration by) {
    AdvanceRequest request = AdvanceRequest.newBuilder().setByMs(by.toMillis()).build();
    on(channel -> call(channel, "Admin/Advance", request, AdvanceResponse.getDefaultInstance()));
  }

  private void on(Consumer<ManagedChannel> calls) {
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).proxyDetector(to -> null).build();
    try {
      calls.accept(channel);
    } finally {
      channel.shutdownNow();
    }
  }

  /** Waits for a connection, and for the answer. */
  private static <Q extends Message, R extends Message> R call(
      ManagedChannel channel, String name, Q request, R answer) {
    MethodDescriptor<Q, R> method =
        MethodDescriptor.<Q, R>newBuilder()
            .setType(MethodType.UNARY)
            .setFullMethodName("taffrail.v1." + name)
            .setRequestMarshaller(ProtoUtils.marshaller(request))
            .setResponseMarshaller(ProtoUtils.marshaller(answer))
            .build();
    CallOptions options =
        CallOptions.DEFAULT.withWaitForReady().withDeadlineAfter(PATIENCE_SECONDS, TimeUnit.SECONDS);
    return ClientCalls.blockingUnaryCall(channel, method, options, request);
  }

  /** kill -9: nothing is finished, nothing is closed. */
  public void kill() {
    end(true);
  }

  /** SIGTERM, as an operator would: what is under way is finished. */
  public void stop() {
    end(false);
  }

  /** The log of the broker so far. */
  public String log() throws IOException {
    return Files.readString(folder.resolve("log"));
  }

  /** Kills it, and removes its data. To close it again does nothing. */
  @Override
  public void close() {
    if (isClosed) {
      return;
    }
    isClosed = true;
    Runtime.getRuntime().removeShutdownHook(atExit);
    remove();
  }

  private void remove() {
    kill();
    try (Stream<Path> files = Files.walk(folder)) {
      files.sorted(Comparator.reverseOrder()).forEach(each -> each.toFile().delete());
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private void end(boolean isForced) {
    if (process == null) {
      return;
    }
    if (isForced) {
      process.destroyForcibly();
    } else {
      process.destroy();
    }
    process.onExit().join();
    process = null;
  }
}
