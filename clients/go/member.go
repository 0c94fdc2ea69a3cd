package taffrail

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	pb "taffrail.dev/go/taffrailv1"
)

// TopicPartition is a partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition uint32
}

// JoinOptions are the options of a member; one of Topics and TopicPrefixes is needed.
type JoinOptions struct {
	Topics        []string
	TopicPrefixes []string
	// Name keeps the member's partitions for the next one that joins with it, and fences another that has it.
	Name string
	// Start is where to begin in partitions for which nothing is committed: Earliest, Latest or Since.
	Start Position
	// CreditRecords and CreditBytes are how much is sent ahead of what has been handled; 0: 1,000 and 8 MiB.
	CreditRecords uint64
	CreditBytes   uint64
	// CommitExplicitly leaves it to Commit to commit.
	CommitExplicitly bool
	// CommitInterval is how often what was handled is committed while records come; 0: every second.
	CommitInterval time.Duration
	// SessionTimeout is how long the member may be away and has its partitions still; 0: 10 s.
	SessionTimeout time.Duration
	// GiveUpAfter is for how long the broker may be away; 0: two minutes; below 0: for ever.
	GiveUpAfter time.Duration
	// OnAssigned is called with partitions that the member has from then on, OnRevoked with those that go, and whether they
	// are gone already. Both are called by Next, NextBatch, Commit and Join.
	OnAssigned func([]Assigned)
	OnRevoked  func(partitions []TopicPartition, areLost bool)
	// OnFailed is called, as these are, with a partition that cannot be read on, because its offset is gone or its records
	// are damaged: the member goes on with its others. Without it, the member ends with that error.
	OnFailed func(Failed)
	// Client is what the client is, for people.
	Client string
}

// Assigned is a partition that a member has.
type Assigned struct {
	TopicPartition
	// NextOffset is the offset of the first record that comes.
	NextOffset uint64
	// Committed is the offset that is committed; nil: none.
	Committed  *uint64
	Generation uint64

	topicID string
}

// Failed is a partition that a member has and cannot read on. It is tried again once it is reset, or has another owner.
type Failed struct {
	TopicPartition
	Generation uint64
	// Reason is NO_OFFSET, OFFSET_OUT_OF_RANGE, DAMAGED_RECORDS or RECORD_EXCEEDS_RESPONSE, Message the same for people.
	Reason, Message string
	// Earliest and HighWatermark are what the partition holds.
	Earliest, HighWatermark uint64
}

// GroupBatch is some records of one of a member's partitions, or, without any, how far it has come.
type GroupBatch struct {
	TopicPartition
	Records []StoredRecord
	// Next is what is committed once these records have been handled.
	Next          Offset
	HighWatermark uint64
	// Erased has the SHA-256 of the keys of entities that were erased since the partition was assigned.
	Erased [][]byte
}

// Member is a member of a consumer group. It is for one goroutine at a time, and is to be left or closed in the end.
//
// Asking for the next record says that the one before has been handled: that is committed a moment later, or when there is
// nothing else to do. Heartbeats are sent meanwhile. When the connection or the broker is lost, the member joins again by
// itself; what was handled and not committed then comes again.
type Member struct {
	client   *Client
	options  JoinOptions
	join     *pb.JoinGroup
	stream   *memberStream
	retries  *retries
	assigned map[TopicPartition]Assigned
	paused   map[TopicPartition]bool
	queue    []*queued
	// The records that were given last: they count as handled when more are asked for.
	given *given
	// Handled and not committed.
	handled   map[TopicPartition]Offset
	commitDue time.Time
	// Commits that were not answered; of those that somebody waits for, where the outcomes go.
	unanswered []*[]CommitOutcome
	// Why the last stream ended, and why the member does not join again.
	lost  *Error
	ended error
}

// queued is records that came and were not all given to the program.
type queued struct {
	batch GroupBatch
	cost  *pb.Credit
	given int
}

type given struct {
	offset Offset
	cost   *pb.Credit
}

// Join joins a group, which is made if there is none. The context bounds the joining alone.
func (c *Client) Join(ctx context.Context, group string, options JoinOptions) (*Member, error) {
	setDefault(&options.CreditRecords, 1_000)
	setDefault(&options.CreditBytes, 8<<20)
	setDefault(&options.CommitInterval, time.Second)
	setDefault(&options.SessionTimeout, 10*time.Second)
	setDefault(&options.GiveUpAfter, 2*time.Minute)
	setDefault(&options.Client, "taffrail-go/"+Version)
	join := &pb.JoinGroup{
		Group: group, Topics: options.Topics, TopicPrefixes: options.TopicPrefixes, MemberName: options.Name,
		Credit:           &pb.Credit{Records: options.CreditRecords, Bytes: options.CreditBytes},
		SessionTimeoutMs: uint64(options.SessionTimeout.Milliseconds()), Heartbeat: true, Client: options.Client,
		MaxResponseBytes: maxResponseBytes, TellFailed: options.OnFailed != nil,
	}
	if !options.Start.isEarliest() {
		join.NoOffset = &pb.NoOffset{Policy: &pb.NoOffset_Start{Start: options.Start.wire}}
	}
	member := &Member{
		client: c, options: options, join: join, retries: newRetries(options.GiveUpAfter),
		assigned: map[TopicPartition]Assigned{}, paused: map[TopicPartition]bool{},
		handled: map[TopicPartition]Offset{}, commitDue: time.Now().Add(options.CommitInterval),
	}
	if err := member.rejoin(ctx); err != nil {
		return nil, err
	}
	return member, nil
}

func setDefault[T comparable](option *T, value T) {
	var none T
	if *option == none {
		*option = value
	}
}

// ID is what the broker calls this member.
func (m *Member) ID() string { return m.join.MemberId }

// Partitions is the partitions that the member has.
func (m *Member) Partitions() []TopicPartition {
	var partitions []TopicPartition
	for partition := range m.assigned {
		partitions = append(partitions, partition)
	}
	return partitions
}

// Next is the next record; asking for it says that the one before has been handled. It waits as long as the context lasts.
//
// ErrFenced, when another one has joined with this member's name, is final, as any error but ErrUnavailable: every call
// says it again. After ErrUnavailable, when the broker was away for too long or the context ended, the next call goes on.
func (m *Member) Next(ctx context.Context) (StoredRecord, error) {
	return next(ctx, m, m.nextRecord)
}

// NextBatch is the next records as they come, which is faster. Use it or Next.
func (m *Member) NextBatch(ctx context.Context) (GroupBatch, error) {
	return next(ctx, m, m.nextBatch)
}

// Commit commits these, by default what has been handled with what was given last, and waits until that is durable: what came
// of each. ErrOutcomeUnknown, when the connection was lost before the answer came.
func (m *Member) Commit(ctx context.Context, offsets ...Offset) ([]CommitOutcome, error) {
	if m.ended != nil {
		return nil, m.ended
	}
	if len(offsets) == 0 {
		m.noteHandled()
	}
	if m.stream == nil {
		if err := m.rejoin(ctx); err != nil {
			return nil, err
		}
	}
	if len(offsets) == 0 {
		offsets = m.takeHandled()
	}
	if len(offsets) == 0 {
		return nil, nil
	}
	// What cannot be encoded, as a name that is not UTF-8, would break the stream.
	if err := checkEncoding(&pb.CommitOffsets{Offsets: offsetsToWire(offsets)}); err != nil {
		return nil, fromRPC(ctx, err, change)
	}
	outcomes := new([]CommitOutcome)
	m.commit(offsets, outcomes)
	for *outcomes == nil {
		if m.stream == nil {
			return nil, outcomeUnknown("the connection was lost before the commit was answered", m.lost)
		}
		if err := m.receive(ctx); err != nil && m.stream != nil {
			return nil, outcomeUnknown("the commit was not answered in time", err)
		}
	}
	return *outcomes, nil
}

// GroupOffsets is these offsets, to be committed with the records of an append: Append.GroupOffsets.
func (m *Member) GroupOffsets(offsets ...Offset) GroupOffsets {
	return GroupOffsets{Group: m.join.Group, MemberID: m.ID(), Offsets: offsets}
}

// Pause gives no records of these for now. They stay the member's, also when it has to join again.
func (m *Member) Pause(partitions ...TopicPartition) {
	for _, each := range partitions {
		m.paused[each] = true
	}
	m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Pause{Pause: m.named(partitions)}})
}

// Resume gives records of these again.
func (m *Member) Resume(partitions ...TopicPartition) {
	for _, each := range partitions {
		delete(m.paused, each)
	}
	m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Resume{Resume: m.named(partitions)}})
}

// Leave leaves the group: commits what was handled, with what was given last, and waits until that is durable. Others get
// the partitions at once. ErrOutcomeUnknown, when the connection was lost before that was answered.
func (m *Member) Leave(ctx context.Context) error {
	m.noteHandled()
	return m.leave(ctx)
}

// Close leaves the group as Leave does, but what was given last counts as not handled, and comes again. Nothing happens if
// the member has left.
func (m *Member) Close() error {
	m.given = nil
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return m.leave(ctx)
}

const closeTimeout = 10 * time.Second

func (m *Member) leave(ctx context.Context) error {
	if m.ended == nil {
		m.ended = &Error{Code: codes.Unavailable, Message: "the member has left", kind: ErrUnavailable}
	}
	stream := m.stream
	if stream == nil {
		return nil
	}
	defer stream.cancel()
	m.commitHandled()
	m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Leave{Leave: &pb.Leave{}}})
	stream.up.put(nil)
	m.stream = nil
	for {
		came, err := stream.down.wait(ctx)
		if err == nil && came.err == nil {
			m.understand(came.response)
			continue
		}
		if len(m.unanswered) > 0 {
			return outcomeUnknown("the connection was lost before what was handled was committed", errors.Join(err, came.err))
		}
		return nil
	}
}

func next[T any](ctx context.Context, m *Member, take func() (T, bool)) (T, error) {
	var none T
	m.noteHandled()
	for {
		if m.ended != nil {
			return none, m.ended
		}
		for m.stream != nil {
			came, isThere := m.stream.down.poll()
			if !isThere {
				break
			}
			if err := m.take(came); err != nil {
				return none, err
			}
		}
		if item, isThere := take(); isThere {
			m.commitIfDue()
			return item, nil
		}
		m.commitHandled()
		if err := m.receive(ctx); err != nil {
			return none, err
		}
	}
}

// receive waits for something from the broker; joins again if the connection is lost.
func (m *Member) receive(ctx context.Context) error {
	if m.stream == nil {
		return m.rejoin(ctx)
	}
	came, err := m.stream.down.wait(ctx)
	if err != nil {
		return &Error{Code: codes.Unavailable, Message: "nothing came in time", kind: ErrUnavailable, cause: err}
	}
	return m.take(came)
}

func (m *Member) nextRecord() (StoredRecord, bool) {
	for at := m.first(); at >= 0; at = m.first() {
		queued := m.queue[at]
		records := queued.batch.Records
		if queued.given < len(records) {
			record := records[queued.given]
			queued.given++
			if queued.given < len(records) {
				offset := queued.batch.Next
				offset.Next = record.Offset + 1
				m.given = &given{offset: offset}
			} else {
				// The last one stands for what was left out behind it, too.
				m.giveAll(at)
			}
			return record, true
		}
		m.giveAll(at)
		m.noteHandled()
	}
	return StoredRecord{}, false
}

func (m *Member) nextBatch() (GroupBatch, bool) {
	at := m.first()
	if at < 0 {
		return GroupBatch{}, false
	}
	return m.giveAll(at), true
}

// giveAll takes a batch off the queue.
func (m *Member) giveAll(at int) GroupBatch {
	queued := m.queue[at]
	m.queue = slices.Delete(m.queue, at, at+1)
	m.given = &given{offset: queued.batch.Next, cost: queued.cost}
	return queued.batch
}

// first is the place of the first batch whose partition is not paused.
func (m *Member) first() int {
	return slices.IndexFunc(m.queue, func(each *queued) bool { return !m.paused[each.batch.TopicPartition] })
}

// noteHandled notes that what was given last has been handled.
func (m *Member) noteHandled() {
	if m.given == nil {
		return
	}
	offset := m.given.offset
	m.returnCredit(m.given.cost)
	m.given = nil
	partition := TopicPartition{offset.Topic, offset.Partition}
	if has, isThere := m.assigned[partition]; isThere && has.Generation == offset.Generation {
		m.handled[partition] = offset
	}
}

func (m *Member) takeHandled() []Offset {
	var offsets []Offset
	for _, offset := range m.handled {
		offsets = append(offsets, offset)
	}
	clear(m.handled)
	return offsets
}

// commitHandled commits what was handled, unless the program does that.
func (m *Member) commitHandled() {
	if !m.options.CommitExplicitly && len(m.handled) > 0 {
		m.commit(m.takeHandled(), nil)
	}
}

func (m *Member) commitIfDue() {
	// One commit at a time: the next one has what was handled meanwhile.
	if now := time.Now(); now.After(m.commitDue) && len(m.unanswered) == 0 {
		m.commitDue = now.Add(m.options.CommitInterval)
		m.commitHandled()
	}
}

func (m *Member) commit(offsets []Offset, outcomes *[]CommitOutcome) {
	m.unanswered = append(m.unanswered, outcomes)
	commit := &pb.CommitOffsets{Offsets: offsetsToWire(offsets)}
	m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Commit{Commit: commit}})
}

func (m *Member) returnCredit(cost *pb.Credit) {
	if cost.GetRecords() > 0 || cost.GetBytes() > 0 {
		m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Credit{Credit: cost}})
	}
}

func (m *Member) send(request *pb.ConsumeRequest) {
	if m.stream != nil {
		m.stream.up.put(request)
	}
}

func (m *Member) named(partitions []TopicPartition) *pb.Partitions {
	named := &pb.Partitions{}
	for _, each := range partitions {
		if has, isThere := m.assigned[each]; isThere {
			partition := &pb.GroupPartition{Topic: each.Topic, Partition: each.Partition, TopicId: has.topicID}
			named.Partitions = append(named.Partitions, partition)
		}
	}
	return named
}

// take takes what has come from the broker.
func (m *Member) take(came arrival) error {
	if came.err == nil {
		m.understand(came.response)
		return nil
	}
	m.lost = fromRPC(context.Background(), came.err, question)
	if !isWorthAnotherTry(m.lost) {
		m.ended = m.lost
	}
	m.stream.cancel()
	m.stream = nil
	// Records of this stream come again on the next one.
	m.queue, m.unanswered = nil, nil
	clear(m.handled)
	if m.given != nil {
		// Its credit ended with the stream.
		m.given.cost = nil
	}
	return m.ended
}

// rejoin joins, with pauses between the attempts.
func (m *Member) rejoin(ctx context.Context) error {
	for m.stream == nil {
		if m.ended != nil {
			return m.ended
		}
		// A call after one that has given up tries again before it fails.
		lost := m.lost
		m.lost = nil
		if lost != nil {
			if err := m.retries.wait(ctx, lost); err != nil {
				return m.withContext(ctx, lost)
			}
		}
		if err := m.joinOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

// withContext is the error with why the context has ended, if it has.
func (m *Member) withContext(ctx context.Context, lost *Error) error {
	if ctx.Err() == nil {
		return lost
	}
	with := *lost
	with.cause = errors.Join(lost.cause, ctx.Err())
	return &with
}

func (m *Member) joinOnce(ctx context.Context) error {
	m.stream = openMemberStream(m.client.groups, m.join, m.options.SessionTimeout/3)
	joining, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	first, err := m.stream.down.wait(joining)
	if err != nil {
		first.err = errors.Join(errors.New("the broker has not said in time that the member has joined"), err)
	}
	if first.err == nil {
		m.begin()
	}
	return m.take(first)
}

const joinTimeout = 30 * time.Second

// begin: there is another stream, on which everything is assigned anew.
func (m *Member) begin() {
	had := m.Partitions()
	clear(m.assigned)
	clear(m.handled)
	if len(had) > 0 && m.options.OnRevoked != nil {
		m.options.OnRevoked(had, true)
	}
}

func (m *Member) understand(response *pb.ConsumeResponse) {
	switch message := response.Message.(type) {
	case *pb.ConsumeResponse_Joined:
		m.join.MemberId = message.Joined.MemberId
		return
	case *pb.ConsumeResponse_Assigned:
		m.assign(message.Assigned.Partitions)
		return
	case *pb.ConsumeResponse_Revoked:
		m.revoke(message.Revoked)
	case *pb.ConsumeResponse_Records:
		m.enqueue(message.Records)
	case *pb.ConsumeResponse_Committed:
		outcomes := m.unanswered[0]
		m.unanswered = m.unanswered[1:]
		if outcomes != nil {
			*outcomes = outcomesFromWire(message.Committed.Results)
		}
	case *pb.ConsumeResponse_Failed:
		m.fail(message.Failed)
	}
	// Joining alone is no success; what comes after it is.
	m.retries.progress()
}

func (m *Member) fail(failed *pb.PartitionFailed) {
	if m.options.OnFailed != nil {
		m.options.OnFailed(Failed{
			TopicPartition: TopicPartition{failed.Topic, failed.Partition}, Generation: failed.Generation,
			Reason: failed.Reason, Message: failed.Message,
			Earliest: failed.Earliest, HighWatermark: failed.HighWatermark,
		})
	}
}

func (m *Member) enqueue(records *pb.Records) {
	next := offsetFromWire(records.Next)
	batch := GroupBatch{
		TopicPartition: TopicPartition{next.Topic, next.Partition}, Next: next, HighWatermark: records.HighWatermark,
		Records: recordsFromWire(next.Topic, next.Partition, records.Records, records.ReplayedBelow),
	}
	for _, each := range records.Erased {
		batch.Erased = append(batch.Erased, each.KeySha256)
	}
	m.queue = append(m.queue, &queued{batch: batch, cost: records.Cost})
}

func (m *Member) assign(partitions []*pb.AssignedPartition) {
	var assigned []Assigned
	var paused []TopicPartition
	for _, each := range partitions {
		partition := TopicPartition{each.Topic, each.Partition}
		has := Assigned{
			TopicPartition: partition, NextOffset: each.NextOffset, Generation: each.Generation, topicID: each.TopicId,
		}
		if each.Committed != nil {
			has.Committed = &each.Committed.NextOffset
		}
		// The partition may be assigned anew: records that were read of it before are not handled any more.
		m.forget(partition)
		m.assigned[partition] = has
		assigned = append(assigned, has)
		if m.paused[partition] {
			paused = append(paused, partition)
		}
	}
	if len(paused) > 0 {
		m.Pause(paused...)
	}
	if m.options.OnAssigned != nil {
		m.options.OnAssigned(assigned)
	}
}

func (m *Member) revoke(revoked *pb.Revoked) {
	var partitions []TopicPartition
	var offsets []Offset
	for _, each := range revoked.GetPartitions().GetPartitions() {
		partitions = append(partitions, TopicPartition{each.Topic, each.Partition})
	}
	areLost := revoked.DrainMs == 0
	if m.options.OnRevoked != nil {
		m.options.OnRevoked(partitions, areLost)
	}
	for _, each := range partitions {
		if offset, isThere := m.handled[each]; isThere {
			offsets = append(offsets, offset)
		}
		m.forget(each)
		delete(m.assigned, each)
		delete(m.paused, each)
	}
	if areLost {
		return
	}
	if len(offsets) > 0 && !m.options.CommitExplicitly {
		m.commit(offsets, nil)
	}
	m.send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Drained{Drained: revoked.Partitions}})
}

// forget drops what came of a partition and was not given to the program.
func (m *Member) forget(partition TopicPartition) {
	m.queue = slices.DeleteFunc(m.queue, func(each *queued) bool {
		if each.batch.TopicPartition != partition {
			return false
		}
		m.returnCredit(each.cost)
		return true
	})
	delete(m.handled, partition)
}
