package dev.taffrail;

import static dev.taffrail.World.beside;
import static dev.taffrail.World.failureOf;
import static dev.taffrail.World.take;
import static dev.taffrail.World.until;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.taffrail.TaffrailException.Closed;
import dev.taffrail.TaffrailException.NotFound;
import dev.taffrail.TaffrailException.OffsetOutOfRange;
import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.World.Proxy;
import dev.taffrail.v1.Filter;
import dev.taffrail.v1.Position;
import dev.taffrail.v1.ReadRequest;
import dev.taffrail.v1.ReadResponse;
import dev.taffrail.v1.Record;
import dev.taffrail.v1.StatusRequest;
import dev.taffrail.v1.StatusResponse;
import io.grpc.CallOptions;
import io.grpc.Context;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.Timeout;

/** Reads that follow, and what they do when the broker is lost. */
@Timeout(60)
class ReadsTest {
  private World world;
  private Client client;

  @BeforeEach
  void start(TestInfo test) {
    world = World.of(test);
    client = world.client;
  }

  @AfterEach
  void close() throws Exception {
    world.close();
  }

  private static ReadRequest.Builder of(String topic) {
    return ReadRequest.newBuilder().setTopic(topic);
  }

  private Reading follow(Client client) {
    return world.after(client.read(of("t").setFollow(true).build()));
  }

  @Test
  @Tag(World.ON_DISK)
  void aFollowGoesOnAfterKill9AndARestart() {
    client.createTopic("t", 2, Map.of());
    world.append("t", 0, 1);
    Reading reading = follow(client);
    assertEquals(List.of("0", "1"), take(reading, 2));
    for (int number = 2; number < 6; number++) {
      world.broker.kill();
      // It waits while there is no broker, and asks for records that come later.
      CompletableFuture<List<String>> following = beside(() -> take(reading, 1));
      world.broker.start();
      world.append("t", number);
      assertEquals(List.of(String.valueOf(number)), following.join());
    }
    assertTrue(reading.positions().containsValue(6L));
  }

  @Test
  void aFollowFromTheEndMissesNothingThoughItWasCutBeforeItHeardAnything() {
    client.createTopic("t", 3, Map.of());
    world.append("t", 0);
    Reading reading = world.after(client.read(of("t").setFollow(true).setStart(Wire.latest()).build()));
    world.append("t", 1, 2);
    world.broker.crash();
    assertEquals(List.of("1", "2"), take(reading, 2));
  }

  @Test
  @Tag(World.ON_DISK)
  void aFollowGoesOnAfterAShutdown() {
    client.createTopic("t");
    world.append("t", 0);
    Reading reading = follow(client);
    take(reading, 1);
    CompletableFuture<List<String>> following = beside(() -> take(reading, 1));
    world.broker.stop();
    world.broker.start();
    world.append("t", 1);
    assertEquals(List.of("1"), following.join());
  }

  @Test
  void aFollowThatIsCutBetweenRecordsHasEachOnce() {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Reading reading = follow(world.connect(proxy.address()));
    for (int number = 0; number < 20; number++) {
      world.append("t", number);
      assertEquals(List.of(String.valueOf(number)), take(reading, 1));
      proxy.cut();
    }
  }

  @Test
  void aFollowSaysWhatWasTrimmedWhileItWasAway() {
    client.createTopic("t");
    world.append("t", 0, 1, 2);
    Reading reading = follow(client);
    take(reading, 3);
    world.broker.crash();
    world.append("t", 3, 4);
    client.trim(dev.taffrail.v1.TrimRequest.newBuilder().setTopic("t").setBeforeOffset(4).build());
    OffsetOutOfRange gone = assertThrows(OffsetOutOfRange.class, reading::next);
    assertEquals(List.of(0L, 4L, 5L), List.of(gone.number("partition"), gone.number("earliest"), gone.number("high_watermark")));
  }

  @Test
  void aFollowEndsWhereTheTopicWasCreatedAnew() {
    client.createTopic("t");
    world.append("t", 0);
    Reading reading = follow(client);
    take(reading, 1);
    world.broker.crash();
    world.untilAnswered();
    client.deleteTopic("t");
    client.createTopic("t");
    world.append("t", 1, 2);
    TaffrailException other = assertThrows(TaffrailException.class, reading::next);
    assertTrue(List.of("TOPIC_RECREATED", "UNKNOWN_TOPIC").contains(other.reason()), other.reason());
  }

  @Test
  @Tag(World.ON_DISK)
  void theTimeThatAFollowWaitsIsThereAgainAfterItHasGivenUp() {
    client.createTopic("t");
    world.append("t", 0);
    Reading reading = world.after(client.read(of("t").setFollow(true).build(), Duration.ZERO));
    take(reading, 1);
    world.broker.kill();
    assertThrows(Unavailable.class, reading::next);
    assertThrows(Unavailable.class, reading::next);
    world.broker.start();
    world.append("t", 1);
    until(
        () -> {
          try {
            return take(reading, 1).equals(List.of("1"));
          } catch (Unavailable away) {
            return false;
          }
        });
  }

  @Test
  void aReadIsOfWhatItIsAskedFor() {
    client.createTopic("t", 2, Map.of());
    for (int number = 0; number < 4; number++) {
      world.appendTo("t", number % 2, number);
    }
    ReadRequest.Builder second = of("t");
    second.addPartitionsBuilder().setPartition(1);
    assertEquals(List.of("1", "3"), values(second));
    ReadRequest.Builder each = of("t");
    each.addPartitionsBuilder().setPartition(0).setPosition(Wire.at(1));
    each.addPartitionsBuilder().setPartition(1).setPosition(Wire.latest());
    assertEquals(List.of("2"), values(each));
    assertEquals(3, values(of("t").setMaxRecords(3)).size());
    assertEquals(0, values(of("t").setStart(Wire.since(Instant.parse("2900-01-01T00:00:00Z")))).size());
    assertEquals(4, values(of("t").setStart(Wire.since(Instant.EPOCH))).size());
    assertEquals(0, values(of("t").setFilter(Filter.newBuilder().addTypes("other"))).size());
    ReadRequest.Builder unknown = of("t");
    unknown.addPartitionsBuilder().setPartition(2);
    assertThrows(NotFound.class, () -> client.read(unknown.build()));
    assertThrows(TaffrailException.class, () -> client.read(of("t").setStart(Position.getDefaultInstance()).build()));
    int ends = 0;
    Reading reading = client.read("t");
    for (Optional<ReadResponse> batch = reading.nextBatch(); batch.isPresent(); batch = reading.nextBatch()) {
      if (batch.get().getCaughtUp()) {
        assertEquals(2, batch.get().getNextOffset());
        ends++;
      }
    }
    assertEquals(2, ends);
  }

  private List<String> values(ReadRequest.Builder request) {
    List<String> values = new ArrayList<>();
    client.read(request.build()).forEach(each -> values.add(each.value().toStringUtf8()));
    return values;
  }

  @Test
  void aReadHasItsRecordsAlsoWhereItBreaksOffBehindSome() {
    client.createTopic("t");
    for (int number = 0; number < 8; number++) {
      // The first two come by themselves, and the others together with the second.
      byte[] value = new byte[number < 2 ? 1_000_000 : 1];
      value[0] = (byte) number;
      client.append("t", List.of(Record.newBuilder().setValue(ByteString.copyFrom(value)).build()));
    }
    Proxy proxy = world.proxy();
    int number = 0;
    for (StoredRecord record : world.connect(proxy.address()).read(of("t").setMaxRecords(7).build())) {
      assertEquals(number++, record.value().byteAt(0));
      proxy.cut();
    }
    assertEquals(7, number);
  }

  @Test
  void aFollowIsEndedByClosingItAndByAnInterrupt() throws Exception {
    client.createTopic("t");
    world.append("t", 0);
    Reading reading = follow(client);
    take(reading, 1);
    CompletableFuture<Boolean> following = beside(reading::hasNext);
    until(() -> calls() == 2);
    reading.close();
    assertFalse(following.join());
    Reading interrupted = follow(client);
    take(interrupted, 1);
    CompletableFuture<?> waiting =
        beside(
            () -> {
              Thread.currentThread().interrupt();
              return interrupted.hasNext();
            });
    failureOf(waiting, Unavailable.class);
    interrupted.close();
    until(() -> calls() == 1);
  }

  @Test
  void aFollowWhoseClientIsClosedSaysSo() throws Exception {
    client.createTopic("t");
    Client own = world.connect(world.broker.address());
    Reading reading = follow(own);
    CompletableFuture<Boolean> following = beside(reading::hasNext);
    until(() -> calls() == 2);
    own.close();
    failureOf(following, Closed.class);
    assertThrows(Closed.class, reading::hasNext);
  }

  @Test
  void aReadWhoseContextHasEndedSaysSo() throws Exception {
    client.createTopic("t");
    world.append("t", 0);
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      Reading reading = context.call(() -> follow(client));
      take(reading, 1);
      CompletableFuture<Boolean> following = beside(reading::hasNext);
      context.cancel(null);
      failureOf(following, Unavailable.class);
    }
  }

  /** How many calls are under way, with the call that asks for the number. */
  private long calls() {
    MethodDescriptor<StatusRequest, StatusResponse> status = Calls.method(Calls.BROKER, "Status");
    StatusRequest ask = StatusRequest.getDefaultInstance();
    return ClientCalls.blockingUnaryCall(client.channel(), status, CallOptions.DEFAULT, ask).getCalls().getNow();
  }
}
