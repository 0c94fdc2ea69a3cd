package dev.taffrail;

import static dev.taffrail.World.beside;
import static dev.taffrail.World.failureOf;
import static dev.taffrail.World.take;
import static dev.taffrail.World.until;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.taffrail.TaffrailException.Closed;
import dev.taffrail.TaffrailException.AlreadyExists;
import dev.taffrail.TaffrailException.Fenced;
import dev.taffrail.TaffrailException.NotFound;
import dev.taffrail.TaffrailException.OutcomeUnknown;
import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.World.Proxy;
import dev.taffrail.v1.AppendRequest;
import dev.taffrail.v1.AssignedPartition;
import dev.taffrail.v1.CommitOutcome;
import dev.taffrail.v1.CommitResult;
import dev.taffrail.v1.DescribeGroupRequest;
import dev.taffrail.v1.DescribeGroupResponse;
import dev.taffrail.v1.GroupMember;
import dev.taffrail.v1.GroupOffset;
import dev.taffrail.v1.GroupPartition;
import io.grpc.CallOptions;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import java.io.BufferedReader;
import java.lang.ProcessBuilder.Redirect;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.Timeout;

/** Members of consumer groups, that are fenced, killed, cut off and told to hand over. */
@Timeout(60)
class GroupsTest {
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

  private static Member.Options options() {
    return new Member.Options();
  }

  @Test
  void whatWasHandledIsCommittedAndNothingElse() {
    client.createTopic("t");
    world.append("t", 0, 1, 2, 3);
    Member first = world.join(client, options());
    assertEquals(List.of("0", "1"), take(first, 2));
    first.leave();
    assertThrows(Unavailable.class, first::next);
    assertEquals(Map.of("t/0", 2L), world.committed());
    try (Member second = client.join("g", options().topics("t"))) {
      assertEquals(List.of("2", "3"), take(second, 2));
      // The last one is not handled.
    }
    assertEquals(Map.of("t/0", 3L), world.committed());
    client.deleteGroup("g");
    assertThrows(NotFound.class, () -> client.committed("g"));
  }

  @Test
  void aMemberCommitsByItselfWhenThereIsNothingElseToDo() {
    client.createTopic("t");
    world.append("t", 0, 1);
    Member member = world.join(client, options());
    take(member, 2);
    assertEquals(Optional.empty(), member.next(Duration.ofMillis(1)));
    until(() -> world.committed().equals(Map.of("t/0", 2L)));
    CompletableFuture<List<String>> waiting = beside(() -> take(member, 1));
    world.append("t", 2);
    assertEquals(List.of("2"), waiting.join());
  }

  @Test
  void aMemberCommitsWhileRecordsCome() {
    client.createTopic("t");
    world.append("t", 0, 1, 2, 3);
    Member member = world.join(client, options().commitInterval(Duration.ZERO));
    take(member, 2);
    until(() -> world.committed().equals(Map.of("t/0", 1L)));
  }

  @Test
  void aMemberThatCommitsExplicitlyIsToldWhatCameOfIt() {
    client.createTopic("t");
    world.append("t", 0, 1, 2);
    Member member = world.join(client, options().commitsExplicitly());
    Member.Batch batch = member.nextBatch(null).orElseThrow();
    assertEquals(3, batch.records().size());
    GroupOffset next = batch.next();
    assertEquals(List.of(CommitOutcome.COMMIT_OUTCOME_DONE), outcomes(member.commit()));
    assertEquals(List.of(), member.commit());
    assertEquals(List.of(CommitOutcome.COMMIT_OUTCOME_UNCHANGED), outcomes(member.commit(List.of(next))));
    GroupOffset beyond = next.toBuilder().setNextOffset(9).build();
    assertEquals(List.of(CommitOutcome.COMMIT_OUTCOME_BEYOND_END), outcomes(member.commit(List.of(beyond))));
    GroupOffset stale = next.toBuilder().setGeneration(next.getGeneration() + 1).build();
    assertEquals(List.of(CommitOutcome.COMMIT_OUTCOME_FENCED), outcomes(member.commit(List.of(stale))));
    world.append("t", 3);
    assertEquals("3", member.next().value().toStringUtf8());
    member.leave();
    assertEquals(Map.of("t/0", 3L), world.committed());
  }

  private static List<CommitOutcome> outcomes(List<CommitResult> results) {
    return results.stream().map(CommitResult::getOutcome).toList();
  }

  @Test
  void creditIsGivenBackForWhatWasHandled() {
    client.createTopic("t", 2, Map.of());
    for (int number = 0; number < 10; number++) {
      world.appendTo("t", number % 2, number);
    }
    Member member = world.join(client, options().credit(1, 1 << 20));
    assertEquals(new TreeSet<>(List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")), new TreeSet<>(take(member, 10)));
  }

  @Test
  void aPartitionIsHandedOverBehindWhatWasHandled() {
    client.createTopic("t", 4, Map.of());
    for (int number = 0; number < 40; number++) {
      world.appendTo("t", number % 4, number);
    }
    Set<Integer> gone = new TreeSet<>();
    Member old =
        world.join(
            client,
            options().onRevoked((partitions, areLost) -> partitions.forEach(each -> gone.add(areLost ? -1 : each.getPartition()))));
    take(old, 40);
    CompletableFuture<List<String>> following = beside(() -> take(old, 1));
    List<AssignedPartition> began = new CopyOnWriteArrayList<>();
    Member young = world.join(client, options().onAssigned(began::addAll));
    CompletableFuture<List<String>> going = beside(() -> take(young, 1));
    // The newcomer gets two of the four, behind all that the first one had handled.
    until(() -> began.size() == 2);
    began.forEach(each -> assertEquals(10, each.getNextOffset()));
    int moved = began.get(0).getPartition();
    Set<Integer> stayed = new TreeSet<>(Set.of(0, 1, 2, 3));
    began.forEach(each -> stayed.remove(each.getPartition()));
    world.appendTo("t", moved, 100);
    world.appendTo("t", stayed.iterator().next(), 101);
    assertEquals(List.of("100"), going.join());
    assertEquals(List.of("101"), following.join());
    assertEquals(new TreeSet<>(began.stream().map(AssignedPartition::getPartition).toList()), gone);
  }

  @Test
  void aMemberIsHeardWhileItsProgramIsBusy() {
    client.createTopic("t");
    world.join(client, options().sessionTimeout(Duration.ofSeconds(3)));
    MethodDescriptor<DescribeGroupRequest, DescribeGroupResponse> describe =
        Calls.method(Calls.GROUPS, "Describe");
    DescribeGroupRequest ask = DescribeGroupRequest.newBuilder().setGroup("g").build();
    Set<Long> heard = new HashSet<>();
    until(
        () -> {
          GroupMember member =
              ClientCalls.blockingUnaryCall(client.channel(), describe, CallOptions.DEFAULT, ask).getMembers(0);
          assertTrue(member.getConnected());
          heard.add(member.getLastHeardMs());
          return heard.size() == 4;
        });
  }

  @Test
  void aFencedMemberSaysSoOnEveryCall() {
    client.createTopic("t");
    Member old = world.join(client, options().name("m"));
    Member young = world.join(client, options().name("m"));
    world.append("t", 0);
    assertThrows(Fenced.class, old::next);
    assertThrows(Fenced.class, old::next);
    assertThrows(Fenced.class, old::commit);
    assertEquals(List.of("0"), take(young, 1));
  }

  /** The member that is killed. */
  static final class Killed {
    public static void main(String[] arguments) {
      Member.Options options = options().topics("t").sessionTimeout(Duration.ofSeconds(1));
      Member member = Client.connect(arguments[0]).join("g", options);
      while (true) {
        System.out.println(member.next().offset());
      }
    }
  }

  @Test
  void thePartitionsOfAKilledMemberMove() throws Exception {
    client.createTopic("t", 4, Map.of());
    for (int partition = 0; partition < 4; partition++) {
      world.appendTo("t", partition, 0);
    }
    String java = ProcessHandle.current().info().command().orElseThrow();
    String classes = System.getProperty("java.class.path");
    Process killed =
        new ProcessBuilder(java, "-cp", classes, Killed.class.getName(), world.broker.address())
            .redirectError(Redirect.INHERIT)
            .start();
    BufferedReader output = killed.inputReader();
    for (int partition = 0; partition < 4; partition++) {
      assertEquals("0", output.readLine());
    }
    killed.destroyForcibly().waitFor();
    Member member = world.join(client, options());
    Set<String> missing = new HashSet<>(Set.of("10", "11", "12", "13"));
    for (int partition = 0; partition < 4; partition++) {
      world.appendTo("t", partition, 10 + partition);
    }
    while (!missing.isEmpty()) {
      missing.removeAll(take(member, 1));
    }
    assertEquals(4, member.partitions().size());
  }

  @Test
  @Tag(World.ON_DISK)
  void aMemberGoesOnAfterKill9AndARestart() {
    client.createTopic("t");
    world.append("t", 0);
    List<Boolean> lost = new ArrayList<>();
    Member member = world.join(client, options().onRevoked((partitions, areLost) -> lost.add(areLost)));
    assertEquals(List.of("0"), take(member, 1));
    String id = member.id();
    for (int number = 1; number < 4; number++) {
      member.commit();
      world.broker.kill();
      CompletableFuture<List<String>> following = beside(() -> take(member, 1));
      world.broker.start();
      world.append("t", number);
      assertEquals(List.of(String.valueOf(number)), following.join());
    }
    assertEquals(id, member.id());
    assertEquals(List.of(true, true, true), lost);
    member.leave();
    assertEquals(Map.of("t/0", 4L), world.committed());
  }

  @Test
  void whatWasNotCommittedWhenTheConnectionBrokeComesAgain() throws Exception {
    client.createTopic("t");
    world.append("t", 0, 1, 2);
    Proxy proxy = world.proxy();
    Member member = world.join(world.connect(proxy.address()), options().commitsExplicitly());
    assertEquals(List.of("0"), take(member, 1));
    member.commit();
    assertEquals(List.of("1", "2"), take(member, 2));
    proxy.cut();
    assertEquals(List.of("1", "2"), take(member, 2));
    proxy.holdAnswers();
    CompletableFuture<?> committing = beside(member::commit);
    until(() -> world.committed().equals(Map.of("t/0", 3L)));
    proxy.cut();
    failureOf(committing, OutcomeUnknown.class);
  }

  @Test
  void aMemberThatIsInterruptedSaysSoAndCanGoOn() throws Exception {
    client.createTopic("t");
    Member member = world.join(client, options().commitsExplicitly());
    CompletableFuture<?> waiting =
        beside(
            () -> {
              Thread.currentThread().interrupt();
              return member.next();
            });
    failureOf(waiting, Unavailable.class);
    world.append("t", 0);
    StoredRecord record = member.next();
    assertEquals(0, record.offset());
    CompletableFuture<?> committing =
        beside(
            () -> {
              Thread.currentThread().interrupt();
              return member.commit();
            });
    failureOf(committing, OutcomeUnknown.class);
  }

  @Test
  void aMemberWhoseClientIsClosedSaysSo() throws Exception {
    client.createTopic("t");
    world.append("t", 0);
    Client own = world.connect(world.broker.address());
    Member member = own.join("g", options().topics("t"));
    assertEquals(List.of("0"), take(member, 1));
    CompletableFuture<?> waiting = beside(member::next);
    until(() -> world.committed().equals(Map.of("t/0", 1L)));
    own.close();
    failureOf(waiting, Closed.class);
    assertThrows(Closed.class, member::next);
    assertThrows(Closed.class, member::commit);
    member.close();
  }

  @Test
  void aMemberThatLeavesSaysThatItDoesNotKnowWhatIsCommitted() throws Exception {
    client.createTopic("t");
    world.append("t", 0);
    Proxy proxy = world.proxy();
    Member member = world.join(world.connect(proxy.address()), options());
    take(member, 1);
    proxy.holdAnswers();
    CompletableFuture<?> leaving =
        beside(
            () -> {
              member.leave();
              return null;
            });
    until(() -> world.committed().equals(Map.of("t/0", 1L)));
    proxy.cut();
    failureOf(leaving, OutcomeUnknown.class);
  }

  @Test
  @Tag(World.ON_DISK)
  void aMemberWhoseBrokerIsAwayForTooLongSaysSoAndCanGoOn() {
    client.createTopic("t");
    world.append("t", 0);
    Member member = world.join(client, options().giveUpAfter(Duration.ZERO));
    take(member, 1);
    world.broker.kill();
    assertThrows(Unavailable.class, member::next);
    assertThrows(Unavailable.class, member::next);
    world.broker.start();
    world.append("t", 1);
    until(
        () -> {
          try {
            return take(member, 1).equals(List.of("1"));
          } catch (Unavailable away) {
            return false;
          }
        });
  }

  @Test
  void aPausedPartitionGivesNothingUntilItIsResumedAlsoAfterABreak() {
    client.createTopic("t", 2, Map.of());
    world.appendTo("t", 0, 0);
    world.appendTo("t", 1, 1);
    Proxy proxy = world.proxy();
    Member member = world.join(world.connect(proxy.address()), options());
    take(member, 2);
    List<GroupPartition> paused = member.partitions().stream().filter(each -> each.getPartition() == 0).toList();
    member.pause(paused);
    for (int number = 2; number < 6; number++) {
      world.appendTo("t", 0, -number);
      world.appendTo("t", 1, number);
      if (number == 4) {
        member.commit();
        proxy.cut();
      }
      StoredRecord record = member.next();
      while (!record.value().toStringUtf8().equals(String.valueOf(number))) {
        // After the break what was not committed comes again, but nothing of the paused one.
        assertEquals(1, record.partition());
        record = member.next();
      }
    }
    member.resume(paused);
    Set<String> missing = new HashSet<>(Set.of("-2", "-3", "-4", "-5"));
    while (!missing.isEmpty()) {
      missing.removeAll(take(member, 1));
    }
  }

  @Test
  void offsetsAreCommittedWithAnAppendOrNeitherIs() {
    client.createTopic("t");
    client.createTopic("out");
    world.append("t", 0, 1);
    Member member = world.join(client, options().commitsExplicitly());
    GroupOffset next = member.nextBatch(null).orElseThrow().next();
    client.append(withOffset(member, "5", next));
    assertEquals(Map.of("t/0", 2L), world.committed());
    GroupOffset stale = next.toBuilder().setGeneration(next.getGeneration() + 1).build();
    assertThrows(Fenced.class, () -> client.append(withOffset(member, "6", stale)));
    assertEquals(List.of("5"), world.values("out"));
  }

  @Test
  void aForkThatReplaysIsToldWhatTheOtherGroupHasHandled() {
    client.createTopic("t");
    world.append("t", 0, 1, 2);
    Member member = world.join(client, options());
    take(member, 2);
    member.leave();
    client.forkGroup("g", "replaying", true);
    try (Member replaying = client.join("replaying", options().topics("t"))) {
      for (boolean isReplayed : List.of(true, true, false)) {
        assertEquals(isReplayed, replaying.next().isReplayed());
      }
    }
    client.forkGroup("g", "going-on", false);
    assertEquals(2, client.committed("going-on").get(0).getNextOffset());
    assertThrows(AlreadyExists.class, () -> client.forkGroup("g", "going-on", false));
  }

  @Test
  void aPartitionThatCannotBeReadOnIsToldAndTheOthersAreRead() {
    client.createTopic("t", 2, Map.of());
    world.appendTo("t", 0, 0);
    world.appendTo("t", 1, 1);
    Member before = world.join(client, options());
    take(before, 2);
    before.leave();
    world.appendTo("t", 0, 2, 3);
    client.trim(dev.taffrail.v1.TrimRequest.newBuilder().setTopic("t").setBeforeOffset(3).build());
    world.appendTo("t", 1, 4);
    List<String> failed = new ArrayList<>();
    Member member =
        world.join(client, options().onFailed(one -> failed.add(one.getPartition() + " " + one.getReason() + " " + one.getEarliest())));
    assertEquals(List.of("4"), take(member, 1));
    world.appendTo("t", 1, 5);
    assertEquals(List.of("5"), take(member, 1));
    assertEquals(List.of("0 OFFSET_OUT_OF_RANGE 3"), failed);
    member.leave();
  }

  private static AppendRequest withOffset(Member member, String value, GroupOffset offset) {
    AppendRequest.Builder request = AppendRequest.newBuilder().addGroupOffsets(member.groupOffsets(List.of(offset)));
    request.addBatchesBuilder().setTopic("out").addRecords(Wire.record("key", value));
    return request.build();
  }
}
