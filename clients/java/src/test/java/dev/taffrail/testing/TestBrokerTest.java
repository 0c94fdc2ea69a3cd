package dev.taffrail.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.taffrail.Client;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
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

  /** A program that has no broker to run. */
  static final class WithoutBinary {
    public static void main(String[] arguments) {
      TestBroker.run();
    }
  }

  @Test
  void nothingIsLeftWhereThereIsNoBrokerToRun(@TempDir Path folder) throws Exception {
    for (String binary : List.of("/nonexistent/taffrail", "true")) {
      String java = ProcessHandle.current().info().command().orElseThrow();
      ProcessBuilder program =
          new ProcessBuilder(
              java,
              "-cp",
              System.getProperty("java.class.path"),
              "-Djava.io.tmpdir=" + folder,
              WithoutBinary.class.getName());
      program.environment().put("TAFFRAIL_BINARY", binary);
      assertEquals(1, program.redirectError(Redirect.DISCARD).start().waitFor());
      try (Stream<Path> left = Files.list(folder)) {
        assertEquals(List.of(), left.toList());
      }
    }
  }
}
