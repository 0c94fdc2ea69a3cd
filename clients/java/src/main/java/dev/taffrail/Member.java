package dev.taffrail;

import dev.taffrail.TaffrailException.OutcomeUnknown;
import dev.taffrail.TaffrailException.Unavailable;
import dev.taffrail.v1.AssignedPartition;
import dev.taffrail.v1.CommitOffsets;
import dev.taffrail.v1.CommitResult;
import dev.taffrail.v1.ConsumeRequest;
import dev.taffrail.v1.ConsumeResponse;
import dev.taffrail.v1.Credit;
import dev.taffrail.v1.GroupOffset;
import dev.taffrail.v1.GroupOffsets;
import dev.taffrail.v1.GroupPartition;
import dev.taffrail.v1.JoinGroup;
import dev.taffrail.v1.Leave;
import dev.taffrail.v1.NoOffset;
import dev.taffrail.v1.PartitionFailed;
import dev.taffrail.v1.Partitions;
import dev.taffrail.v1.Position;
import dev.taffrail.v1.Records;
import dev.taffrail.v1.Revoked;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * A member of a consumer group. It is for one thread at a time, and is to be left or closed in the end.
 *
 * <p>Asking for the next record says that the one before has been handled: that is committed a moment later, or when there is
 * nothing else to do. Heartbeats are sent meanwhile. When the connection or the broker is lost, the member joins again by
 * itself; what was handled and not committed then comes again.
 *
 * <p>{@link TaffrailException.Fenced}, when another one has joined with this member's name, is final, as any error but {@link
 * Unavailable}: every call says it again. After that one, when the broker was away for too long or the thread was
 * interrupted, the next call goes on.
 */
public final class Member implements AutoCloseable {
  /** The options of a member; topics or prefixes of their names are needed. */
  public static final class Options {
    private final JoinGroup.Builder join =
        JoinGroup.newBuilder()
            .setCredit(Credit.newBuilder().setRecords(1_000).setBytes(8 << 20))
            .setSessionTimeoutMs(10_000)
            .setHeartbeat(true)
            .setMaxResponseBytes(Client.MAX_RESPONSE_BYTES)
            .setClient("taffrail-java/" + Client.VERSION);
    private boolean commitsExplicitly;
    private Duration commitInterval = Duration.ofSeconds(1);
    private Duration giveUpAfter = Duration.ofMinutes(2);
    private Consumer<List<AssignedPartition>> onAssigned = assigned -> {};
    private BiConsumer<List<GroupPartition>, Boolean> onRevoked = (partitions, areLost) -> {};
    private Consumer<PartitionFailed> onFailed = failed -> {};

    public Options topics(String... topics) {
      join.addAllTopics(Arrays.asList(topics));
      return this;
    }

    public Options topicPrefixes(String... prefixes) {
      join.addAllTopicPrefixes(Arrays.asList(prefixes));
      return this;
    }

    /** Keeps the member's partitions for the next one that joins with it, and fences another that has it. */
    public Options name(String name) {
      join.setMemberName(name);
      return this;
    }

    /** Where to begin in partitions for which nothing is committed; not an offset. Default: at the earliest record. */
    public Options start(Position start) {
      join.setNoOffset(NoOffset.newBuilder().setStart(start));
      return this;
    }

    /** How much is sent ahead of what has been handled. Default: 1,000 records and 8 MiB. */
    public Options credit(long records, long bytes) {
      join.setCredit(Credit.newBuilder().setRecords(records).setBytes(bytes));
      return this;
    }

    /** How long the member may be away and has its partitions still. Default: 10 s. */
    public Options sessionTimeout(Duration time) {
      join.setSessionTimeoutMs(time.toMillis());
      return this;
    }

    /** Leave it to {@link Member#commit} to commit. */
    public Options commitsExplicitly() {
      commitsExplicitly = true;
      return this;
    }

    /** How often what was handled is committed while records come. Default: every second. */
    public Options commitInterval(Duration time) {
      commitInterval = time;
      return this;
    }

    /** For how long the broker may be away. Default: 2 min. */
    public Options giveUpAfter(Duration time) {
      giveUpAfter = time;
      return this;
    }

    /** Told of partitions that the member has from then on, in the thread that asks for records. */
    public Options onAssigned(Consumer<List<AssignedPartition>> listener) {
      onAssigned = listener;
      return this;
    }

    /** Told of partitions that go, before they are handed over, and whether they are lost already. */
    public Options onRevoked(BiConsumer<List<GroupPartition>, Boolean> listener) {
      onRevoked = listener;
      return this;
    }

    /**
     * Told of a partition that cannot be read on, because its offset is gone or its records are damaged: the member goes on
     * with its others. Without this, the member ends with that error.
     */
    public Options onFailed(Consumer<PartitionFailed> listener) {
      join.setTellFailed(true);
      onFailed = listener;
      return this;
    }
  }

  /**
   * Some records of one of a member's partitions, or, without any, how far it has come.
   *
   * @param next what is committed once these records have been handled
   * @param wire as the broker has sent it, with the entities that were erased since the partition was assigned
   */
  public record Batch(List<StoredRecord> records, GroupOffset next, Records wire) {}

  /** A partition of a topic. */
  private record Place(String topic, int partition) {
    static Place of(GroupOffset offset) {
      return new Place(offset.getTopic(), offset.getPartition());
    }

    static Place of(AssignedPartition assigned) {
      return new Place(assigned.getTopic(), assigned.getPartition());
    }

    static Place of(GroupPartition named) {
      return new Place(named.getTopic(), named.getPartition());
    }
  }

  /** Records that came and were not all given to the program. */
  private static final class Queued {
    private final Place place;
    private final Batch batch;
    private int given;

    Queued(Records wire) {
      GroupOffset next = wire.getNext();
      place = Place.of(next);
      batch = new Batch(
          StoredRecord.of(next.getTopic(), next.getPartition(), wire.getRecordsList(), wire.getReplayedBelow()), next, wire);
    }
  }

  /** What was given last, and what of the stream's credit is to be returned for it. */
  private record Given(GroupOffset offset, Credit cost) {}

  private static final Duration JOIN_TIMEOUT = Duration.ofSeconds(30);
  private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(10);

  private final Calls calls;
  private final Options options;
  private final JoinGroup.Builder join;
  private final Retries retries;
  private final Map<Place, AssignedPartition> assigned = new LinkedHashMap<>();
  private final Set<Place> paused = new HashSet<>();
  private final List<Queued> queue = new ArrayList<>();
  /** It has been handled when more is asked for. */
  private Given given;
  /** Handled and not committed. */
  private final Map<Place, GroupOffset> handled = new HashMap<>();
  private long commitDue;
  private MemberStream stream;
  /** Why the last stream ended, and why the member does not join again. */
  private TaffrailException lost;
  private TaffrailException ended;

  Member(Calls calls, String group, Options options) {
    this.calls = calls;
    this.options = options;
    join = options.join.clone().setGroup(group);
    retries = new Retries(options.giveUpAfter);
    commitDue = System.nanoTime() + options.commitInterval.toNanos();
    rejoin();
  }

  /** The id that the broker has given to this member. */
  public String id() {
    return join.getMemberId();
  }

  /** The partitions that the member has. */
  public List<GroupPartition> partitions() {
    return named(assigned.keySet());
  }

  /** The next record; asking for it says that the one before has been handled. It waits as long as it takes. */
  public StoredRecord next() {
    return next(null).orElseThrow();
  }

  /** The next record; empty if none has come in time. It takes longer if the member has to join again first. */
  public Optional<StoredRecord> next(Duration timeout) {
    return Optional.ofNullable(next(timeout, this::takeRecord));
  }

  /** The next records as they come, which is faster. Use it or {@link #next()}. Without a time it waits as long as it takes. */
  public Optional<Batch> nextBatch(Duration timeout) {
    return Optional.ofNullable(next(timeout, this::takeBatch));
  }

  /** Commits what has been handled, with what was given last, and waits until that is durable: what came of each. */
  public List<CommitResult> commit() {
    checkEnded();
    noteHandled();
    rejoin();
    return commit(takeHandled());
  }

  /**
   * Commits these, and waits until that is durable: what came of each.
   *
   * @throws OutcomeUnknown the connection was lost before the answer came
   */
  public List<CommitResult> commit(Collection<GroupOffset> offsets) {
    checkEnded();
    rejoin();
    if (offsets.isEmpty()) {
      return List.of();
    }
    CompletableFuture<List<CommitResult>> answer = send(offsets);
    try {
      while (!answer.isDone()) {
        receive(null);
      }
      return answer.join();
    } catch (TaffrailException | CancellationException error) {
      throw new OutcomeUnknown("the connection was lost, or not waited for, before the commit was answered", error);
    }
  }

  /** Offsets to commit with the records of an append: {@code AppendRequest.group_offsets}. */
  public GroupOffsets groupOffsets(Collection<GroupOffset> offsets) {
    return GroupOffsets.newBuilder().setGroup(join.getGroup()).setMemberId(id()).addAllOffsets(offsets).build();
  }

  /** Gives no records of these for now. They stay the member's, also when it has to join again. */
  public void pause(Collection<GroupPartition> partitions) {
    partitions.forEach(each -> paused.add(Place.of(each)));
    send(ConsumeRequest.newBuilder().setPause(Partitions.newBuilder().addAllPartitions(partitions)));
  }

  /** Gives records of these again. */
  public void resume(Collection<GroupPartition> partitions) {
    partitions.forEach(each -> paused.remove(Place.of(each)));
    send(ConsumeRequest.newBuilder().setResume(Partitions.newBuilder().addAllPartitions(partitions)));
  }

  /**
   * Leaves the group: commits what was handled, with what was given last, and waits until that is durable. Others get the
   * partitions at once.
   *
   * @throws OutcomeUnknown the connection was lost before that was answered
   */
  public void leave() {
    noteHandled();
    leaveNow();
  }

  /** Leaves the group as {@link #leave} does, but what was given last counts as not handled, and comes again. */
  @Override
  public void close() {
    given = null;
    leaveNow();
  }

  private void leaveNow() {
    if (ended == null) {
      ended = new Unavailable("the member has left", null);
    }
    MemberStream leaving = stream;
    if (leaving == null) {
      return;
    }
    commitHandled();
    send(ConsumeRequest.newBuilder().setLeave(Leave.getDefaultInstance()));
    leaving.finish();
    long until = System.nanoTime() + CLOSE_TIMEOUT.toNanos();
    stream = null;
    try (leaving) {
      MemberStream.Arrival came = leaving.next(CLOSE_TIMEOUT);
      while (came != null && came.response() != null) {
        if (came.response().hasCommitted()) {
          leaving.commits.remove().complete(List.of());
        }
        came = leaving.next(Duration.ofNanos(Math.max(0, until - System.nanoTime())));
      }
    }
    if (!leaving.commits.isEmpty()) {
      throw new OutcomeUnknown("the connection was lost before what was handled was committed", null);
    }
  }

  private <T> T next(Duration timeout, Supplier<T> take) {
    long until = timeout == null ? 0 : System.nanoTime() + timeout.toNanos();
    noteHandled();
    while (true) {
      checkEnded();
      rejoin();
      while (stream != null && stream.hasNext()) {
        take(stream.next(Duration.ZERO));
      }
      T item = take.get();
      if (item != null) {
        commitIfDue();
        return item;
      }
      commitHandled();
      Duration left = timeout == null ? null : Duration.ofNanos(Math.max(0, until - System.nanoTime()));
      if (stream != null && !receive(left) && left != null) {
        return null;
      }
    }
  }

  /** Waits for something from the broker; false if nothing has come in time. */
  private boolean receive(Duration timeout) {
    if (stream == null) {
      return false;
    }
    MemberStream.Arrival came = stream.next(timeout);
    if (came != null) {
      take(came);
    }
    return came != null;
  }

  private void take(MemberStream.Arrival came) {
    if (came.response() != null) {
      understand(came.response());
      return;
    }
    noteLost(came.error());
    stream.close();
    stream.commits.forEach(each -> each.cancel(false));
    stream = null;
    // Records of this stream come again on the next one, and their credit ends with it.
    queue.clear();
    handled.clear();
    if (given != null) {
      given = new Given(given.offset, Credit.getDefaultInstance());
    }
  }

  private void noteLost(TaffrailException error) {
    lost = error;
    if (!error.isWorthAnotherTry()) {
      ended = error;
    }
  }

  private void checkEnded() {
    if (ended != null) {
      throw ended;
    }
  }

  /** Joins where the member has no stream, with pauses between the attempts. */
  private void rejoin() {
    while (stream == null) {
      checkEnded();
      // A call after one that has given up tries again before it fails.
      TaffrailException before = lost;
      lost = null;
      if (before != null) {
        retries.await(before);
      }
      joinOnce();
    }
  }

  private void joinOnce() {
    MemberStream opened = new MemberStream(calls, join.build());
    MemberStream.Arrival first;
    try {
      first = opened.next(JOIN_TIMEOUT);
    } catch (Unavailable interrupted) {
      opened.close();
      throw interrupted;
    }
    if (first != null && first.response() != null && first.response().hasJoined()) {
      join.setMemberId(first.response().getJoined().getMemberId());
      begin(opened);
      return;
    }
    opened.close();
    boolean isTold = first != null && first.error() != null;
    noteLost(isTold ? first.error() : new Unavailable("the broker has not said in time that the member has joined", null));
  }

  /** There is another stream, on which everything is assigned anew. */
  private void begin(MemberStream opened) {
    List<GroupPartition> had = partitions();
    assigned.clear();
    handled.clear();
    stream = opened;
    if (!had.isEmpty()) {
      options.onRevoked.accept(had, true);
    }
  }

  private void understand(ConsumeResponse response) {
    switch (response.getMessageCase()) {
      case ASSIGNED -> {
        assign(response.getAssigned().getPartitionsList());
        return;
      }
      case REVOKED -> revoke(response.getRevoked());
      case RECORDS -> queue.add(new Queued(response.getRecords()));
      case FAILED -> options.onFailed.accept(response.getFailed());
      case COMMITTED -> stream.commits.remove().complete(response.getCommitted().getResultsList());
      default -> {}
    }
    // Joining alone is no success; what comes after it is.
    retries.progress();
  }

  private void assign(List<AssignedPartition> partitions) {
    List<Place> again = new ArrayList<>();
    for (AssignedPartition each : partitions) {
      Place place = Place.of(each);
      // The partition may be assigned anew: records that were read of it before are not handled any more.
      forget(place);
      assigned.put(place, each);
      if (paused.contains(place)) {
        again.add(place);
      }
    }
    if (!again.isEmpty()) {
      pause(named(again));
    }
    options.onAssigned.accept(partitions);
  }

  private void revoke(Revoked revoked) {
    List<GroupPartition> partitions = revoked.getPartitions().getPartitionsList();
    boolean areLost = revoked.getDrainMs() == 0;
    options.onRevoked.accept(partitions, areLost);
    List<GroupOffset> offsets = new ArrayList<>();
    for (GroupPartition each : partitions) {
      Place place = Place.of(each);
      if (handled.containsKey(place)) {
        offsets.add(handled.get(place));
      }
      forget(place);
      assigned.remove(place);
      paused.remove(place);
    }
    if (areLost) {
      return;
    }
    if (!offsets.isEmpty() && !options.commitsExplicitly) {
      send(offsets);
    }
    send(ConsumeRequest.newBuilder().setDrained(revoked.getPartitions()));
  }

  /** Drops what came of a partition and was not given to the program. */
  private void forget(Place place) {
    for (Queued each : List.copyOf(queue)) {
      if (each.place.equals(place)) {
        queue.remove(each);
        returnCredit(each.batch.wire.getCost());
      }
    }
    handled.remove(place);
  }

  private StoredRecord takeRecord() {
    for (Queued queued = first(); queued != null; queued = first()) {
      List<StoredRecord> records = queued.batch.records;
      StoredRecord record = queued.given < records.size() ? records.get(queued.given++) : null;
      if (record != null && queued.given < records.size()) {
        GroupOffset next = queued.batch.next.toBuilder().setNextOffset(record.offset() + 1).build();
        given = new Given(next, Credit.getDefaultInstance());
        return record;
      }
      // The last one stands for what was left out behind it, too.
      giveAll(queued);
      if (record != null) {
        return record;
      }
      noteHandled();
    }
    return null;
  }

  private Batch takeBatch() {
    Queued queued = first();
    return queued == null ? null : giveAll(queued);
  }

  /** The first whose partition is not paused. */
  private Queued first() {
    for (Queued each : queue) {
      if (!paused.contains(each.place)) {
        return each;
      }
    }
    return null;
  }

  private Batch giveAll(Queued queued) {
    queue.remove(queued);
    given = new Given(queued.batch.next, queued.batch.wire.getCost());
    return queued.batch;
  }

  /** Notes that the records that were given last have been handled. */
  private void noteHandled() {
    if (given == null) {
      return;
    }
    Given done = given;
    given = null;
    returnCredit(done.cost);
    Place place = Place.of(done.offset);
    if (assigned.containsKey(place)) {
      handled.put(place, done.offset);
    }
  }

  private List<GroupOffset> takeHandled() {
    List<GroupOffset> offsets = List.copyOf(handled.values());
    handled.clear();
    return offsets;
  }

  /** Commits what was handled, unless the program does that. */
  private void commitHandled() {
    if (stream != null && !options.commitsExplicitly && !handled.isEmpty()) {
      send(takeHandled());
    }
  }

  private void commitIfDue() {
    long now = System.nanoTime();
    // One commit at a time: the next one has what was handled meanwhile.
    if (now - commitDue >= 0 && stream.commits.isEmpty()) {
      commitDue = now + options.commitInterval.toNanos();
      commitHandled();
    }
  }

  private CompletableFuture<List<CommitResult>> send(Collection<GroupOffset> offsets) {
    CompletableFuture<List<CommitResult>> answer = new CompletableFuture<>();
    stream.commits.add(answer);
    send(ConsumeRequest.newBuilder().setCommit(CommitOffsets.newBuilder().addAllOffsets(offsets)));
    return answer;
  }

  private void returnCredit(Credit cost) {
    if (cost.getRecords() > 0 || cost.getBytes() > 0) {
      send(ConsumeRequest.newBuilder().setCredit(cost));
    }
  }

  private void send(ConsumeRequest.Builder message) {
    if (stream != null) {
      stream.send(message.build());
    }
  }

  private List<GroupPartition> named(Collection<Place> places) {
    List<GroupPartition> named = new ArrayList<>();
    for (Place each : places) {
      AssignedPartition has = assigned.get(each);
      if (has != null) {
        GroupPartition.Builder partition = GroupPartition.newBuilder().setTopic(each.topic).setPartition(each.partition);
        named.add(partition.setTopicId(has.getTopicId()).build());
      }
    }
    return named;
  }
}
