package dev.taffrail.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.taffrail.Client;
import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What can go wrong with a broker of a test. */
@Timeout(60)
class TestBrokerTest {
  @Test
  void itIsClosedOnce() {
    TestBroker broker = TestBroker.runOnDisk();
    Path data = broker.dataDir();
    assertTrue(Files.exists(data));
    broker.close();
    assertFalse(Files.exists(data.getParent()));
    broker.close();
    assertThrows(IllegalStateException.class, broker::start);
  }

  @Test
  void itIsNotStartedWhileItRuns() {
    try (TestBroker broker = TestBroker.runOnDisk();
        Client client = Client.connect(broker.address())) {
      client.createTopic("t");
      assertThrows(IllegalStateException.class, broker::start);
      assertEquals(1, client.topics("").size());
      broker.stop();
      broker.start();
      try (Client again = Client.connect(broker.address())) {
        assertEquals(1, again.topics("").size());
      }
    }
  }

  /** A program that is killed while its broker runs. */
  static final class Killed {
    public static void main(String[] arguments) throws InterruptedException {
      TestBroker broker = arguments[0].equals("disk") ? TestBroker.runOnDisk() : TestBroker.run();
      System.out.println(broker.address());
      Thread.sleep(Duration.ofMinutes(1).toMillis());
    }
  }

  @Test
  void itEndsWithItsProgramAlsoByKill9() throws Exception {
    // The broker may be writing there for a moment longer.
    Path folder = Files.createTempDirectory(Path.of("target"), "killed-").toAbsolutePath();
    for (String where : List.of("memory", "disk")) {
      ProcessBuilder program = program(Killed.class, folder);
      program.command().add(where);
      Process running = program.redirectError(Redirect.DISCARD).start();
      String[] address = running.inputReader().readLine().split(":");
      assertTrue(isThere(address));
      running.destroyForcibly().waitFor();
      while (isThere(address)) {
        Thread.sleep(10);
      }
    }
  }

  private static boolean isThere(String[] address) {
    try {
      new Socket(address[0], Integer.parseInt(address[1])).close();
      return true;
    } catch (IOException refused) {
      return false;
    }
  }

  /** Another program, with a folder for its temporary files. */
  private static ProcessBuilder program(Class<?> main, Path folder) {
    String java = ProcessHandle.current().info().command().orElseThrow();
    List<String> command =
        List.of(java, "-cp", System.getProperty("java.class.path"), "-Djava.io.tmpdir=" + folder, main.getName());
    return new ProcessBuilder(new ArrayList<>(command));
  }

  /** A program that ends without closing its brokers. */
  static final class Ended {
    public static void main(String[] arguments) {
      TestBroker.run();
      TestBroker.runOnDisk();
      System.exit(0);
    }
  }

  @Test
  void nothingIsLeftOfBrokersThatAProgramHasNotClosed(@TempDir Path folder) throws Exception {
    assertEquals(0, program(Ended.class, folder).redirectError(Redirect.DISCARD).start().waitFor());
    assertEmpty(folder);
  }

  private static void assertEmpty(Path folder) throws IOException {
    try (Stream<Path> left = Files.list(folder)) {
      assertEquals(List.of(), left.toList());
    }
  }

  /** A program that has no broker to run. */
  static final class WithoutBinary {
    public static void main(String[] arguments) {
      TestBroker.run();
    }
  }

  @Test
  void nothingIsLeftWhereThereIsNoBrokerToRun(@TempDir Path folder) throws Exception {
    for (String binary : List.of("/nonexistent/taffrail", "true")) {
      ProcessBuilder program = program(WithoutBinary.class, folder);
      program.environment().put("TAFFRAIL_BINARY", binary);
      assertEquals(1, program.redirectError(Redirect.DISCARD).start().waitFor());
      assertEmpty(folder);
    }
  }
}
