// Package taffrail is a client for Taffrail, a log broker and event store in one binary.
//
//	client, err := taffrail.New("127.0.0.1:9640")
//	...
//	_, err = client.Append(ctx, "orders", []taffrail.Record{{Key: []byte("order-1"), Value: []byte("placed")}})
//	reading, err := client.Read(ctx, "orders", taffrail.ReadOptions{})
//	for record, err := range reading.All() {
//
// Every error is an *Error, and errors.Is tells what it means: ErrUnavailable, ErrOutcomeUnknown, ErrConflict, ...
//
// The generated code is in taffrailv1, for what this package does not have.
package taffrail

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "taffrail.dev/go/taffrailv1"
)

// Version is that of this package, and of the broker that it was made with.
const Version = "0.1.0"

// windowBytes is what a read may be sent ahead: four of the broker's responses.
const windowBytes = 4 << 20

// maxResponseBytes is the largest response that is taken, and asked for.
const maxResponseBytes = 16 << 20

// Client calls a broker. It connects when it is first used, and again when that is lost. One is enough for a program, and
// may be used by all of it at the same time.
//
// How long a call may take is said by its context. One that ends leaves the outcome of a change open.
type Client struct {
	conn     *grpc.ClientConn
	isClosed *atomic.Bool
	topics   pb.TopicsClient
	log      pb.LogClient
	entities pb.EntitiesClient
	groups   pb.GroupsClient
	broker   pb.BrokerClient
}

// New makes a client for the broker at this address, HOST:PORT, unix:PATH, or a URL: https:// is TLS. The options of grpc-go
// come behind those that are set here: WithTransportCredentials(credentials.NewTLS(...)) for a broker with an authority of
// its own, WithToken for one that asks who calls.
func New(address string, options ...grpc.DialOption) (*Client, error) {
	// grpc-go refuses responses above 4 MiB, of which a topic with larger records has some; waits up to two minutes before
	// it connects again; does not notice a connection that is there on one side only; and writes and reads 32 KiB at a time.
	isClosed := new(atomic.Bool)
	own := []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(refuseClosed(isClosed), refuseUnencodable),
		grpc.WithChainStreamInterceptor(refuseClosedStream(isClosed)),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponseBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithUserAgent("taffrail-go/" + Version),
		grpc.WithWriteBufferSize(1 << 20),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithReadBufferSize(256 << 10),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(2 * windowBytes),
	}
	target, isTLS := strings.CutPrefix(address, "https://")
	if isTLS {
		own = append(own, grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	}
	target = strings.TrimPrefix(target, "http://")
	conn, err := grpc.NewClient(target, append(own, options...)...)
	if err != nil {
		return nil, err
	}
	return &Client{
		conn:     conn,
		isClosed: isClosed,
		topics:   pb.NewTopicsClient(conn),
		log:      pb.NewLogClient(conn),
		entities: pb.NewEntitiesClient(conn),
		groups:   pb.NewGroupsClient(conn),
		broker:   pb.NewBrokerClient(conn),
	}, nil
}

// Close ends every call that is under way. Reads, members and producers go on no more: what they are asked is ErrClosed, but
// for a change that was sent, whose outcome is unknown.
func (c *Client) Close() error {
	c.isClosed.Store(true)
	return c.conn.Close()
}

// Conn is the connection, for the clients of taffrailv1.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Limits are the broker's limits, by name, with the values that are configured: record_bytes, append_records, ...
func (c *Client) Limits(ctx context.Context) (map[string]uint64, error) {
	answer, err := c.broker.Limits(ctx, &pb.LimitsRequest{})
	return answered(ctx, err, question, func() map[string]uint64 {
		most := map[string]uint64{}
		for _, limit := range answer.Limits {
			most[limit.Name] = limit.Most
		}
		return most
	})
}

// Topic is a topic. Partitions are there only where one topic was described.
type Topic struct {
	Name           string
	ID             string
	PartitionCount uint32
	Settings       map[string]string
	Partitions     []Partition
}

// Partition is a partition of a topic.
type Partition struct {
	Partition uint32
	// Earliest is the first offset that has not been trimmed.
	Earliest uint64
	// HighWatermark is the offset that the next record will get.
	HighWatermark uint64
	Bytes         uint64
}

// Removal is what an alter or a trim would remove of a partition.
type Removal struct {
	Partition    uint32
	BeforeOffset uint64
	Records      uint64
	Bytes        uint64
}

// CreateTopic creates a topic; 0 partitions are one. The settings are those of topics.proto: {"retention.ms": "30d"}.
func (c *Client) CreateTopic(ctx context.Context, name string, partitions uint32, settings map[string]string) (Topic, error) {
	request := &pb.CreateTopicRequest{Name: name, Partitions: partitions, Settings: settings}
	created, err := c.topics.Create(ctx, request)
	return answered(ctx, err, change, func() Topic { return topicFromWire(created.Topic) })
}

// Topics lists the topics whose names begin with prefix, sorted by name.
func (c *Client) Topics(ctx context.Context, prefix string) iter.Seq2[Topic, error] {
	return func(yield func(Topic, error) bool) {
		request := &pb.ListTopicsRequest{Prefix: prefix}
		for {
			page, err := c.topics.List(ctx, request)
			if err != nil {
				yield(Topic{}, fromRPC(ctx, err, question))
				return
			}
			for _, topic := range page.Topics {
				request.After = topic.Name
				if !yield(topicFromWire(topic), nil) {
					return
				}
			}
			if !page.More {
				return
			}
		}
	}
}

// DescribeTopic describes a topic and its partitions.
func (c *Client) DescribeTopic(ctx context.Context, name string) (Topic, error) {
	described, err := c.topics.Describe(ctx, &pb.DescribeTopicRequest{Name: name})
	return answered(ctx, err, question, func() Topic {
		topic := topicFromWire(described.Topic)
		for _, each := range described.Partitions {
			topic.Partitions = append(topic.Partitions, Partition{
				Partition: each.Partition, Earliest: each.Earliest, HighWatermark: each.HighWatermark, Bytes: each.Bytes,
			})
		}
		return topic
	})
}

// AlterTopic changes settings, and gives those in reset their defaults again: all of it, or nothing.
func (c *Client) AlterTopic(ctx context.Context, name string, settings map[string]string, reset ...string) (Topic, error) {
	altered, err := c.topics.Alter(ctx, &pb.AlterTopicRequest{Name: name, Set: settings, Reset_: reset})
	return answered(ctx, err, change, func() Topic { return topicFromWire(altered.Topic) })
}

// WouldRemove is what AlterTopic would remove at once; nothing is changed.
func (c *Client) WouldRemove(ctx context.Context, name string, settings map[string]string, reset ...string) ([]Removal, error) {
	asked, err := c.topics.Alter(ctx, &pb.AlterTopicRequest{Name: name, Set: settings, Reset_: reset, DryRun: true})
	return answered(ctx, err, question, func() []Removal {
		var removals []Removal
		for _, each := range asked.WouldRemove {
			removals = append(removals, Removal{each.Partition, each.BeforeOffset, each.Records, each.Bytes})
		}
		return removals
	})
}

// DeleteTopic deletes a topic with all its records.
func (c *Client) DeleteTopic(ctx context.Context, name string) error {
	_, err := c.topics.Delete(ctx, &pb.DeleteTopicRequest{Name: name})
	return changed(ctx, err)
}

// Trim deletes the records of a partition before an offset. The partition's earliest offset now. With force also what
// retention.hold=groups keeps.
func (c *Client) Trim(ctx context.Context, topic string, partition uint32, before uint64, force bool) (uint64, error) {
	request := &pb.TrimRequest{Topic: topic, Partition: partition, BeforeOffset: before, Force: force}
	trimmed, err := c.topics.Trim(ctx, request)
	return answered(ctx, err, change, func() uint64 { return trimmed.Earliest })
}

// Append appends to one topic: all records, or none. When it returns, they are synced to disk. Where a condition does not
// hold, the error is ErrConflict, and says what is the case instead.
//
// It is not tried again: after ErrOutcomeUnknown they are stored, or not. A Producer finds out.
func (c *Client) Append(ctx context.Context, topic string, records []Record, conditions ...Condition) (Appended, error) {
	batches := []Batch{{Topic: topic, Records: records}}
	appended, err := c.AppendBatches(ctx, Append{Batches: batches, Conditions: conditions})
	if err != nil {
		return Appended{}, err
	}
	return appended[0], nil
}

// Append is one atomic commit to any number of topics.
type Append struct {
	Batches    []Batch
	Conditions []Condition
	// GroupOffsets are committed with the records.
	GroupOffsets []GroupOffsets
	// ReturnVersions asks for Range.Versions.
	ReturnVersions bool
}

// AppendBatches is Append for any number of topics and partitions: all of it happens, or nothing.
func (c *Client) AppendBatches(ctx context.Context, request Append) ([]Appended, error) {
	response, err := c.log.Append(ctx, request.toWire())
	return answered(ctx, err, change, func() []Appended {
		appended := make([]Appended, len(request.Batches))
		for at, batch := range request.Batches {
			appended[at] = appendedFromWire(batch.Topic, response.Batches[at])
		}
		return appended
	})
}

func (a Append) toWire() *pb.AppendRequest {
	request := &pb.AppendRequest{ReturnVersions: a.ReturnVersions}
	topics := map[string]bool{}
	for _, batch := range a.Batches {
		topics[batch.Topic] = true
		request.Batches = append(request.Batches, &pb.AppendBatch{
			Topic: batch.Topic, Partition: batch.Partition, Records: recordsToWire(batch.Records),
		})
	}
	for _, condition := range a.Conditions {
		if condition.wire.GetTopic() == "" && len(topics) == 1 {
			condition = condition.Of(a.Batches[0].Topic)
		}
		request.Conditions = append(request.Conditions, condition.wire)
	}
	for _, each := range a.GroupOffsets {
		request.GroupOffsets = append(request.GroupOffsets, &pb.GroupOffsets{
			Group: each.Group, MemberId: each.MemberID, Offsets: offsetsToWire(each.Offsets),
		})
	}
	return request
}

// Entity is an entity as it is.
type Entity struct {
	Key []byte
	// Version is that of its latest record; 0: it never had one.
	Version uint64
	// Record is nil if there never was one, or it was trimmed.
	Record    *StoredRecord
	Partition uint32
}

// GetLatest is the latest record and version of up to 1,000 entities, in order, as they were at one moment.
func (c *Client) GetLatest(ctx context.Context, topic string, keys ...[]byte) ([]Entity, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses, err := c.entities.GetLatest(ctx, &pb.GetLatestRequest{Topic: topic, Keys: keys, MaxResponseBytes: maxResponseBytes})
	var latest []Entity
	for err == nil {
		var response *pb.GetLatestResponse
		response, err = responses.Recv()
		for _, each := range response.GetLatest() {
			found := Entity{Key: keys[len(latest)], Version: each.Version, Partition: each.Partition}
			if each.Record != nil {
				found.Record = &recordsFromWire(topic, each.Partition, []*pb.Record{each.Record}, 0)[0]
			}
			latest = append(latest, found)
		}
	}
	if err != io.EOF {
		return nil, fromRPC(ctx, err, question)
	}
	return latest, nil
}

// Erasure is the removal of an entity's bytes.
type Erasure struct {
	ID uint64
	// Complete: the bytes are gone from every file.
	Complete bool
	Deadline time.Time
	// Problem is why it could not be completed when that was tried last.
	Problem string
}

// Erase erases an entity: when it returns, no read returns its keys, values and headers any more.
func (c *Client) Erase(ctx context.Context, topic string, key []byte) (Erasure, error) {
	erased, err := c.entities.EraseKey(ctx, &pb.EraseKeyRequest{Topic: topic, Key: key})
	return answered(ctx, err, change, func() Erasure { return erasureFromWire(erased.Erasure) })
}

// DescribeErasure says how far the removal of an entity's bytes from the files has come.
func (c *Client) DescribeErasure(ctx context.Context, id uint64) (Erasure, error) {
	described, err := c.entities.DescribeErasure(ctx, &pb.DescribeErasureRequest{Id: id})
	return answered(ctx, err, question, func() Erasure { return erasureFromWire(described.Erasure) })
}

// Committed is the committed offsets of a group.
func (c *Client) Committed(ctx context.Context, group string) (map[TopicPartition]uint64, error) {
	committed := map[TopicPartition]uint64{}
	request := &pb.FetchOffsetsRequest{Group: group}
	for {
		fetched, err := c.groups.FetchOffsets(ctx, request)
		if err != nil || !fetched.More {
			return answered(ctx, err, question, func() map[TopicPartition]uint64 {
				addCommitted(committed, fetched.Offsets)
				return committed
			})
		}
		addCommitted(committed, fetched.Offsets)
		last := fetched.Offsets[len(fetched.Offsets)-1]
		request.After = &pb.GroupPartition{Topic: last.Topic, Partition: last.Partition}
	}
}

func addCommitted(to map[TopicPartition]uint64, offsets []*pb.CommittedOffset) {
	for _, each := range offsets {
		to[TopicPartition{each.Topic, each.Partition}] = each.NextOffset
	}
}

// ForkGroup makes a group that goes on where the other one is. With replay it reads everything again instead, and what the
// other one has handled comes as Replayed.
func (c *Client) ForkGroup(ctx context.Context, group, newGroup string, replay bool) error {
	request := &pb.ForkGroupRequest{Group: group, NewGroup: newGroup, Replay: replay}
	_, err := c.groups.Fork(ctx, request)
	return changed(ctx, err)
}

// DeleteGroup deletes a group that has no members, and its offsets.
func (c *Client) DeleteGroup(ctx context.Context, group string) error {
	_, err := c.groups.Delete(ctx, &pb.DeleteGroupRequest{Group: group})
	return changed(ctx, err)
}

// answered converts an answer, or the error in its place.
func answered[T any](ctx context.Context, err, lost error, convert func() T) (T, error) {
	if err != nil {
		var none T
		return none, fromRPC(ctx, err, lost)
	}
	return convert(), nil
}

// changed is the error of a change whose answer says nothing.
func changed(ctx context.Context, err error) error {
	if err != nil {
		return fromRPC(ctx, err, change)
	}
	return nil
}

func topicFromWire(wire *pb.Topic) Topic {
	settings := map[string]string{}
	for _, setting := range wire.Settings {
		settings[setting.Name] = setting.Value
	}
	return Topic{Name: wire.Name, ID: wire.Id, PartitionCount: wire.Partitions, Settings: settings}
}

func erasureFromWire(wire *pb.Erasure) Erasure {
	return Erasure{ID: wire.Id, Complete: wire.Complete, Deadline: time.UnixMilli(wire.DeadlineMs), Problem: wire.Problem}
}
