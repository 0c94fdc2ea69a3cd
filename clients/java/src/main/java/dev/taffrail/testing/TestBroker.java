package dev.taffrail.testing;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** A broker for tests: the real one, on a port of its own, with data that is removed with it. */
public final class TestBroker implements AutoCloseable {
  private static final Pattern LISTENING = Pattern.compile("listening on http://(\\S+)");

  private final Path folder;
  private final Thread atExit = new Thread(this::kill);
  private String address = "127.0.0.1:0";
  private Process process;

  private TestBroker(Path folder) {
    this.folder = folder;
    Runtime.getRuntime().addShutdownHook(atExit);
  }

  /** Runs {@code taffrail serve}: what TAFFRAIL_BINARY names, or taffrail on the PATH. */
  public static TestBroker run() {
    try {
      TestBroker broker = new TestBroker(Files.createTempDirectory("taffrail-"));
      broker.start();
      return broker;
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Where it is, also after a restart: HOST:PORT. */
  public String address() {
    return address;
  }

  public Path dataDir() {
    return folder.resolve("data");
  }

  /** Starts it again on what is on the disk, and waits until it can be connected to. */
  public void start() {
    String binary = Optional.ofNullable(System.getenv("TAFFRAIL_BINARY")).orElse("taffrail");
    try {
      process =
          new ProcessBuilder(binary, "serve", "--data-dir", dataDir().toString(), "--listen", address)
              .redirectError(Redirect.appendTo(folder.resolve("log").toFile()))
              .start();
      BufferedReader output = process.inputReader();
      Matcher listening = LISTENING.matcher(String.valueOf(output.readLine()));
      if (!listening.find()) {
        throw new IllegalStateException("the broker ended instead of serving:\n" + log());
      }
      address = listening.group(1);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** kill -9: nothing is finished, nothing is closed. */
  public void kill() {
    end(true);
  }

  /** SIGTERM, as an operator would: what is under way is finished. */
  public void stop() {
    end(false);
  }

  /** What it has logged. */
  public String log() throws IOException {
    return Files.readString(folder.resolve("log"));
  }

  /** Kills it, and removes its data. */
  @Override
  public void close() {
    kill();
    Runtime.getRuntime().removeShutdownHook(atExit);
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
