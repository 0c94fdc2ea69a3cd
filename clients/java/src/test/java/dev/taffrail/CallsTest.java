package dev.taffrail;

import static dev.taffrail.World.KEY;
import static dev.taffrail.World.beside;
import static dev.taffrail.World.failureOf;
import static dev.taffrail.World.numbered;
import static dev.taffrail.World.until;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.taffrail.TaffrailException.AlreadyExists;
import dev.taffrail.TaffrailException.Closed;
import dev.taffrail.TaffrailException.ConditionFailed;
import dev.taffrail.TaffrailException.Fenced;
import dev.taffrail.TaffrailException.NotFound;
import dev.taffrail.TaffrailException.OutcomeUnknown;
import dev.taffrail.TaffrailException.Refused;
import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.World.Proxy;
import dev.taffrail.v1.*;
import dev.taffrail.v1.Record;
import io.grpc.Context;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.Timeout;

/** Topics, appends, entities, and what goes wrong with them. */
@Timeout(60)
class CallsTest {
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

  @Test
  void aBrokerIsReachedByItsUrl() {
    assertEquals(List.of(), world.connect("http://" + world.broker.address() + "/").topics(""));
  }

  @Test
  void topicsAreCreatedListedAlteredTrimmedAndDeleted() {
    client.createTopic("a.1", 2, Map.of("retention.ms", "1d"));
    client.createTopic("a.2");
    client.createTopic("b");
    assertEquals(List.of("a.1", "a.2"), client.topics("a.").stream().map(Topic::getName).toList());
    assertEquals(2, client.describeTopic("a.1").getPartitionsCount());
    AlterTopicRequest.Builder alter =
        AlterTopicRequest.newBuilder().setName("a.1").putSet("retention.bytes", "1GiB").addReset("retention.ms");
    assertEquals(0, client.alterTopic(alter.clone().setDryRun(true).build()).getWouldRemoveCount());
    assertEquals("86400000", setting(client.describeTopic("a.1").getTopic(), "retention.ms"));
    Topic altered = client.alterTopic(alter.build()).getTopic();
    assertEquals("1073741824", setting(altered, "retention.bytes"));
    assertEquals("-1", setting(altered, "retention.ms"));
    client.append("b", numbered(0, 1, 2));
    assertEquals(2, client.trim(TrimRequest.newBuilder().setTopic("b").setBeforeOffset(2).build()));
    client.deleteTopic("b");
    NotFound unknown = assertThrows(NotFound.class, () -> client.describeTopic("b"));
    assertEquals("UNKNOWN_TOPIC", unknown.reason());
    assertEquals("b", unknown.metadata().get("topic"));
    assertThrows(AlreadyExists.class, () -> client.createTopic("a.1"));
  }

  private static String setting(Topic topic, String name) {
    return topic.getSettingsList().stream().filter(each -> each.getName().equals(name)).findAny().orElseThrow().getValue();
  }

  @Test
  void topicsAreListedPageByPage() {
    List<CompletableFuture<Topic>> created = new ArrayList<>();
    for (int number = 0; number < 1_001; number++) {
      String name = "t%04d".formatted(number);
      if (created.size() == 50) {
        created.forEach(CompletableFuture::join);
        created.clear();
      }
      created.add(beside(() -> client.createTopic(name)));
    }
    created.forEach(CompletableFuture::join);
    assertEquals(1_001, new TreeSet<>(client.topics("").stream().map(Topic::getName).toList()).size());
  }

  @Test
  void aConflictSaysWhatDoesNotHoldAndTheActualVersion() {
    client.createTopic("t");
    client.append("t", numbered(1, 2));
    Condition holds = Wire.atVersion("t", KEY, 2);
    Condition[] conditions = {
      holds,
      Wire.exists("t", ByteString.copyFromUtf8("other")),
      Wire.nextOffset("t", 0, 2),
      Wire.atVersion("t", KEY, 1),
      Wire.nextOffset("t", 0, -1),
      Wire.absent("t", KEY),
    };
    ConditionFailed conflict =
        assertThrows(ConditionFailed.class, () -> client.append("t", numbered(3), conditions));
    assertEquals(List.of(1, 3, 4, 5), conflict.failed().stream().map(FailedCondition::getIndex).toList());
    assertEquals(2, conflict.failed().get(2).getNextOffset());
    assertEquals(0, conflict.actual());
    assertEquals(Status.Code.ABORTED, conflict.code());
    ConditionFailed second = assertThrows(ConditionFailed.class, () -> client.append("t", numbered(3), conditions[3]));
    assertEquals(2, second.actual());
    assertEquals(2, client.append("t", numbered(3), holds).getRanges(0).getFirstOffset());
  }

  @Test
  void keysAndValuesAreAnyBytes() {
    client.createTopic("t");
    byte[] bytes = new byte[256];
    for (int each = 0; each < 256; each++) {
      bytes[each] = (byte) each;
    }
    ByteString everything = ByteString.copyFrom(bytes);
    Record large = Record.newBuilder().setKey(everything).setValue(everything).setTimestampMs(Long.MIN_VALUE).build();
    Record tombstone = Record.newBuilder().setKey(KEY).build();
    Record empty = Record.newBuilder().setKey(KEY).setValue(ByteString.EMPTY).build();
    client.append("t", List.of(large, tombstone, empty));
    List<StoredRecord> read = new ArrayList<>();
    client.read("t").forEach(read::add);
    assertEquals(everything, read.get(0).key());
    assertEquals(everything, read.get(0).value());
    assertEquals(Long.MIN_VALUE, read.get(0).record().getTimestampMs());
    assertFalse(read.get(1).record().hasValue());
    assertTrue(read.get(2).record().hasValue());
    assertEquals(List.of(1L, 1L, 2L), read.stream().map(StoredRecord::version).toList());
  }

  @Test
  void anEntityIsReadByVersionAndErased() {
    client.createTopic("t", 4, Map.of());
    client.append("t", numbered(1, 2, 3));
    ReadKeyRequest.Builder ask = ReadKeyRequest.newBuilder().setTopic("t").setKey(KEY);
    try (KeyReading reading = client.readKey(ask.clone().setFromVersion(2).build())) {
      assertEquals(3, reading.latestVersion());
      assertEquals("2", reading.next().value().toStringUtf8());
      assertEquals("3", reading.next().value().toStringUtf8());
      assertFalse(reading.hasNext());
    }
    ByteString never = ByteString.copyFromUtf8("never");
    assertEquals(0, client.readKey(ask.clone().setKey(never).build()).latestVersion());
    List<LatestRecord> latest = client.getLatest("t", List.of(never, KEY));
    assertFalse(latest.get(0).hasRecord());
    assertEquals("3", latest.get(1).getRecord().getValue().toStringUtf8());
    assertThrows(NotFound.class, () -> client.getLatest("u", List.of(KEY)));
    assertThrows(NotFound.class, () -> client.readKey(ask.clone().setTopic("u").build()));
    Erasure erasure = client.erase("t", KEY);
    client.read("t").forEach(each -> assertTrue(each.isErased()));
    until(() -> client.describeErasure(erasure.getId()).getComplete());
  }

  @Test
  void whatIsTooLargeIsRefusedAndWhatATopicMayHaveIsRead() {
    client.createTopic("t");
    client.createTopic("large", 1, Map.of("max.record.bytes", "8MiB"));
    Producer producer = client.producer("t");
    Record two = Record.newBuilder().setValue(ByteString.copyFrom(new byte[2 << 20])).build();
    assertEquals("RECORD_TOO_LARGE", assertThrows(Refused.class, () -> producer.append(List.of(two))).reason());
    assertEquals(0, producer.append(numbered(1)).getBatches(0).getRanges(0).getFirstOffset());
    Record seven = Record.newBuilder().setKey(KEY).setValue(ByteString.copyFrom(new byte[7 << 20])).build();
    assertEquals(
        "REQUEST_TOO_LARGE",
        assertThrows(Refused.class, () -> client.append("large", List.of(seven, seven, seven))).reason());
    // A larger response than grpc-java receives by default.
    client.append("large", List.of(seven));
    assertEquals(7 << 20, client.read("large").next().value().size());
  }

  @Test
  void aProducerStoresOnceWhatItHasToSendAgain() {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Producer producer = world.connect(proxy.address()).producer("t", new Producer.Options().returnVersions());
    producer.append(numbered(1));
    proxy.holdAnswers();
    CompletableFuture<AppendResponse> appending = beside(() -> producer.append(numbered(2)));
    until(() -> world.end("t") == 2);
    proxy.cut();
    AppendedRange range = appending.join().getBatches(0).getRanges(0);
    assertEquals(List.of(1L, 2L), List.of(range.getFirstOffset(), range.getVersions(0)));
    producer.append(numbered(3));
    assertEquals(List.of("1", "2", "3"), world.values("t"));
  }

  @Test
  void theOutcomeOfAnAppendWithoutAProducerIsUnknown() throws Exception {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Client behind = world.connect(proxy.address());
    behind.describeTopic("t");
    proxy.holdAnswers();
    CompletableFuture<?> appending = beside(() -> behind.append("t", numbered(1)));
    until(() -> world.end("t") == 1);
    proxy.cut();
    failureOf(appending, OutcomeUnknown.class);
    assertEquals(List.of("1"), world.values("t"));
  }

  @Test
  void aDeadlineOrAnEndOfTheContextLeavesTheOutcomeOfAChangeOpenAndAQuestionUnanswered() throws Exception {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Client hasty = world.after(Client.to(proxy.address()).timeout(Duration.ofMillis(500)).connect());
    Client patient = world.connect(proxy.address());
    hasty.describeTopic("t");
    patient.describeTopic("t");
    proxy.holdAnswers();
    OutcomeUnknown late = assertThrows(OutcomeUnknown.class, () -> hasty.append("t", numbered(1)));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertThrows(Unavailable.class, () -> hasty.describeTopic("t"));
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      CompletableFuture<?> appending = beside(context.wrap(() -> patient.append("t", numbered(2))));
      CompletableFuture<?> asking = beside(context.wrap(() -> patient.describeTopic("t")));
      until(() -> world.end("t") == 2);
      context.cancel(null);
      failureOf(appending, OutcomeUnknown.class);
      failureOf(asking, Unavailable.class);
    }
  }

  @Test
  void aProducerThatGaveUpFindsOutWhatBecameOfItsAppend() throws Exception {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Producer producer =
        world.connect(proxy.address()).producer("t", new Producer.Options().giveUpAfter(Duration.ZERO));
    proxy.holdAnswers();
    CompletableFuture<?> appending = beside(() -> producer.append(numbered(1)));
    until(() -> world.end("t") == 1);
    proxy.cut();
    failureOf(appending, OutcomeUnknown.class);
    assertTrue(assertThrows(OutcomeUnknown.class, () -> producer.append(numbered(2))).getMessage().contains("resend"));
    List<AppendResponse> answers = new ArrayList<>();
    until(
        () -> {
          try {
            return answers.add(producer.resend().orElseThrow());
          } catch (OutcomeUnknown unknown) {
            return false;
          }
        });
    assertEquals(0, answers.get(0).getBatches(0).getRanges(0).getFirstOffset());
    assertTrue(producer.resend().isEmpty());
    producer.append(numbered(2));
    assertEquals(List.of("1", "2"), world.values("t"));
  }

  @Test
  @Tag(World.ON_DISK)
  void aBrokerThatIsNotThereHasStoredNothing() {
    client.createTopic("t");
    Producer producer = client.producer("t", new Producer.Options().giveUpAfter(Duration.ZERO));
    world.broker.kill();
    // What is sent on a connection that is about to break may have arrived.
    until(() -> assertThrows(Unavailable.class, () -> client.describeTopic("t")).getMessage().contains("io exception"));
    assertInstanceOf(Unavailable.class, assertThrows(TaffrailException.class, () -> client.append("t", numbered(1))));
    assertThrows(Unavailable.class, () -> producer.append(numbered(1)));
    world.broker.start();
    world.untilAnswered();
    assertEquals(0, producer.append(numbered(1)).getBatches(0).getRanges(0).getFirstOffset());
  }

  @Test
  @Tag(World.ON_DISK)
  void aProducerGoesOnAfterARestart() {
    client.createTopic("t");
    Producer producer = client.producer("t", new Producer.Options().name("p"));
    producer.append(numbered(1));
    world.broker.kill();
    CompletableFuture<AppendResponse> appending = beside(() -> producer.append(numbered(2)));
    world.broker.start();
    assertEquals(1, appending.join().getBatches(0).getRanges(0).getFirstOffset());
  }

  @Test
  void aProducerIsFencedForGoodByAnotherOfItsName() {
    client.createTopic("t");
    Producer old = client.producer("t", new Producer.Options().name("p"));
    client.producer("t", new Producer.Options().name("p")).append(numbered(1));
    assertThrows(Fenced.class, () -> old.append(numbered(2)));
    assertThrows(Fenced.class, () -> old.append(numbered(2)));
    assertThrows(Fenced.class, old::resend);
    assertEquals(List.of("1"), world.values("t"));
  }

  @Test
  void aProducerPutsKeysWhereTheBrokerDoes() {
    client.createTopic("t", 7, Map.of());
    List<Record> records = new ArrayList<>();
    for (int number = 1; number < 40; number++) {
      records.add(Record.newBuilder().setKey(ByteString.copyFromUtf8("\u00e9".repeat(number).substring(number / 3))).build());
    }
    Producer producer = client.producer("t");
    producer.append(records);
    client.append("t", records);
    TreeSet<ByteString> keys = new TreeSet<>(ByteString.unsignedLexicographicalComparator());
    records.forEach(each -> keys.add(each.getKey()));
    for (LatestRecord latest : client.getLatest("t", List.copyOf(keys))) {
      assertEquals(0, latest.getVersion() % 2);
    }
    TreeSet<Integer> partitions = new TreeSet<>();
    for (int turn = 0; turn < 7; turn++) {
      AppendResponse appended = producer.append(List.of(Record.newBuilder().setValue(KEY).build()));
      partitions.add(appended.getBatches(0).getRanges(0).getPartition());
    }
    assertEquals(7, partitions.size());
    AppendResponse appended = producer.appendTo(3, List.of(Record.newBuilder().setValue(KEY).build()));
    assertEquals(3, appended.getBatches(0).getRanges(0).getPartition());
  }

  @Test
  void aClientThatWasClosedSendsNothingMoreAndSaysSo() throws Exception {
    client.createTopic("t");
    Proxy proxy = world.proxy();
    Client own = world.connect(proxy.address());
    Producer producer = own.producer("t");
    Producer other = own.producer("t");
    proxy.holdAnswers();
    CompletableFuture<?> sent = beside(() -> producer.append(numbered(1)));
    until(() -> world.end("t") == 1);
    own.close();
    failureOf(sent, OutcomeUnknown.class);
    assertThrows(OutcomeUnknown.class, producer::resend);
    Closed closed = assertThrows(Closed.class, () -> other.append(numbered(2)));
    assertEquals("the client was closed", closed.getMessage());
    assertThrows(Closed.class, () -> own.append("t", numbered(2)));
    assertThrows(Closed.class, () -> own.topics(""));
    assertThrows(Closed.class, () -> own.read("t"));
    assertThrows(Closed.class, () -> own.readKey(ReadKeyRequest.newBuilder().setTopic("t").setKey(KEY).build()));
    assertThrows(Closed.class, () -> own.getLatest("t", List.of(KEY)));
    assertThrows(Closed.class, () -> own.join("g", new Member.Options().topics("t")));
    assertEquals(1, world.end("t"));
    own.close();
  }

  @Test
  void timePassesWhereATestSaysSo() {
    client.createTopic("t");
    var first = client.append("t", numbered(1)).getRanges(0);
    world.broker.advance(Duration.ofHours(1));
    var second = client.append("t", numbered(2)).getRanges(0);
    assertTrue(second.getAppendTimeMs() - first.getAppendTimeMs() >= 3_600_000);
  }

  @Test
  void whatTheBrokerBoundsIsTold() {
    assertEquals(8L << 20, client.limits().get("record_bytes"));
    assertEquals(65_536L, client.limits().get("append_records"));
  }
}
