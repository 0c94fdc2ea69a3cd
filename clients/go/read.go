package taffrail

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "taffrail.dev/go/taffrailv1"
)

// ReadOptions are the options of a read; the zero value reads all records that there are.
type ReadOptions struct {
	// Start is where to start; by default at the earliest record.
	Start Position
	// Partitions are those to read, each from a place of its own; by default all, from Start.
	Partitions map[uint32]Position
	// Follow goes on with records as they are appended.
	Follow bool
	// MaxRecords ends the read after so many; 0: no limit.
	MaxRecords uint64
	// Keys and Types: only records with one of these keys, of one of these types.
	Keys  [][]byte
	Types []string
	// GiveUpAfter is for how long the broker may be away; 0: two minutes; below 0: for ever.
	GiveUpAfter time.Duration
}

// Reading is the records of a read, one by one with Next or All, or as they come with NextBatch. Use one of them, in one
// goroutine at a time. It is to be closed, also by another goroutine, or the context of the read to be ended.
//
// When the connection or the broker is lost, it goes on by itself behind what it has had, once the broker is back.
type Reading struct {
	client    *Client
	ctx       context.Context
	cancel    context.CancelFunc
	request   *pb.ReadRequest
	places    map[uint32]*pb.PartitionPosition
	responses grpc.ServerStreamingClient[pb.ReadResponse]
	retries   *retries
	records   []StoredRecord
	isEnded   atomic.Bool
}

// ReadBatch is some records of one partition, or, without any, how far the read has come.
type ReadBatch struct {
	Partition     uint32
	Records       []StoredRecord
	NextOffset    uint64
	HighWatermark uint64
	CaughtUp      bool
	// Erased has the SHA-256 of the keys of entities that were erased since the read began.
	Erased [][]byte
}

// Read reads a topic, up to its end as it is now, or with Follow on and on. Where it starts is settled when it returns. The
// context is that of the whole read.
func (c *Client) Read(ctx context.Context, topic string, options ReadOptions) (*Reading, error) {
	if options.GiveUpAfter == 0 {
		options.GiveUpAfter = 2 * time.Minute
	}
	request := &pb.ReadRequest{Topic: topic, Follow: options.Follow, MaxRecords: options.MaxRecords, MaxResponseBytes: maxResponseBytes}
	if len(options.Keys)+len(options.Types) > 0 {
		request.Filter = &pb.Filter{Keys: options.Keys, Types: options.Types}
	}
	ask := &pb.ListOffsetsRequest{Topic: topic, Position: options.Start.wire}
	for partition, position := range options.Partitions {
		place := &pb.PartitionPosition{Partition: partition, Position: position.wire}
		ask.Partitions = append(ask.Partitions, place)
	}
	found, err := c.log.ListOffsets(ctx, ask)
	if err != nil {
		return nil, fromRPC(ctx, err, question)
	}
	request.TopicId = found.TopicId
	reading := &Reading{
		client: c, request: request, places: map[uint32]*pb.PartitionPosition{}, retries: newRetries(options.GiveUpAfter),
	}
	reading.ctx, reading.cancel = context.WithCancel(ctx)
	for _, each := range found.Offsets {
		position, isNamed := options.Partitions[each.Partition]
		if !isNamed || position.wire == nil {
			position = options.Start
		}
		// A read that breaks off before it has heard of a partition begins there again, and not at what is the end by
		// then. The beginning may be trimmed meanwhile, and then is what is the beginning by then.
		if !position.isEarliest() {
			position = At(each.Offset)
		}
		place := &pb.PartitionPosition{Partition: each.Partition, Position: position.wire}
		reading.places[each.Partition] = place
		request.Partitions = append(request.Partitions, place)
	}
	return reading, nil
}

// TopicID says which topic it is: offsets mean nothing in another one of the same name.
func (r *Reading) TopicID() string { return r.request.TopicId }

// Positions is, of each partition that has been heard of, the offset behind what has been received.
func (r *Reading) Positions() map[uint32]uint64 {
	positions := map[uint32]uint64{}
	for partition, place := range r.places {
		if at, isOffset := place.Position.GetAt().(*pb.Position_Offset); isOffset {
			positions[partition] = at.Offset
		}
	}
	return positions
}

// Close ends the read.
func (r *Reading) Close() {
	r.isEnded.Store(true)
	r.cancel()
}

// All is the records up to the end, for a loop; leaving the loop closes the read.
func (r *Reading) All() iter.Seq2[StoredRecord, error] { return all(r.Next, r.Close) }

// all is what next gives, for a loop, up to io.EOF or another error.
func all(next func() (StoredRecord, error), close func()) iter.Seq2[StoredRecord, error] {
	return func(yield func(StoredRecord, error) bool) {
		defer close()
		for {
			record, err := next()
			if errors.Is(err, io.EOF) || !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Next is the next record; io.EOF at the end.
func (r *Reading) Next() (StoredRecord, error) {
	for len(r.records) == 0 {
		batch, err := r.NextBatch()
		if err != nil {
			return StoredRecord{}, err
		}
		r.records = batch.Records
	}
	record := r.records[0]
	r.records = r.records[1:]
	return record, nil
}

// NextBatch is the next records as they come, with how far the read is and which entities were erased meanwhile; io.EOF at
// the end.
func (r *Reading) NextBatch() (ReadBatch, error) {
	for !r.isEnded.Load() {
		response, err := r.receive()
		if err == nil {
			r.retries.progress()
			return r.take(response), nil
		}
		if r.isEnded.Load() || err == io.EOF && !r.request.Follow {
			break
		}
		if err == io.EOF {
			err = &Error{Code: codes.Unavailable, Message: "the read was ended", kind: ErrUnavailable}
		}
		r.responses = nil
		var failure *Error
		if !errors.As(err, &failure) {
			failure = fromRPC(r.ctx, err, question)
		}
		if err := r.retries.wait(r.ctx, failure); err != nil {
			return ReadBatch{}, err
		}
	}
	r.Close()
	return ReadBatch{}, io.EOF
}

func (r *Reading) receive() (*pb.ReadResponse, error) {
	if r.responses == nil {
		responses, err := r.client.log.Read(r.ctx, r.request)
		if err != nil {
			return nil, err
		}
		r.responses = responses
	}
	return r.responses.Recv()
}

func (r *Reading) take(response *pb.ReadResponse) ReadBatch {
	r.places[response.Partition].Position = At(response.NextOffset).wire
	if r.request.MaxRecords > 0 {
		r.request.MaxRecords -= uint64(len(response.Records))
		r.isEnded.Store(r.request.MaxRecords == 0)
	}
	batch := ReadBatch{
		Partition: response.Partition, NextOffset: response.NextOffset, HighWatermark: response.HighWatermark,
		CaughtUp: response.CaughtUp,
		Records:  recordsFromWire(r.request.Topic, response.Partition, response.Records, 0),
	}
	for _, each := range response.Erased {
		batch.Erased = append(batch.Erased, each.KeySha256)
	}
	return batch
}

// KeyOptions are the options of a read of one entity; the zero value reads all of its records.
type KeyOptions struct {
	// FromVersion is the version to start at; 0: the first, or backward, the last.
	FromVersion uint64
	// Backward reads from the latest to the earliest.
	Backward bool
	// MaxRecords ends the read after so many; 0: no limit.
	MaxRecords uint64
}

// KeyReading is the records of one entity, in the order of the read.
type KeyReading struct {
	// LatestVersion is the entity's version when the read began; 0: it never had a record.
	LatestVersion uint64
	Partition     uint32

	topic     string
	ctx       context.Context
	cancel    context.CancelFunc
	responses grpc.ServerStreamingClient[pb.ReadKeyResponse]
	records   []StoredRecord
}

// ReadKey reads one entity by version, up to its latest as it is now.
func (c *Client) ReadKey(ctx context.Context, topic string, key []byte, options KeyOptions) (*KeyReading, error) {
	reading := &KeyReading{topic: topic}
	reading.ctx, reading.cancel = context.WithCancel(ctx)
	responses, err := c.entities.ReadKey(reading.ctx, &pb.ReadKeyRequest{
		Topic: topic, Key: key, FromVersion: options.FromVersion, Backward: options.Backward, MaxRecords: options.MaxRecords,
		MaxResponseBytes: maxResponseBytes,
	})
	if err != nil {
		reading.cancel()
		return nil, fromRPC(ctx, err, question)
	}
	reading.responses = responses
	// The first response comes also if there are no records.
	if err := reading.receive(); err != nil {
		reading.cancel()
		return nil, err
	}
	return reading, nil
}

// All is the records up to the end, for a loop; leaving the loop closes the read.
func (r *KeyReading) All() iter.Seq2[StoredRecord, error] { return all(r.next, r.Close) }

func (r *KeyReading) next() (StoredRecord, error) {
	for len(r.records) == 0 {
		if err := r.receive(); err != nil {
			return StoredRecord{}, err
		}
	}
	record := r.records[0]
	r.records = r.records[1:]
	return record, nil
}

// Close ends the read.
func (r *KeyReading) Close() { r.cancel() }

func (r *KeyReading) receive() error {
	response, err := r.responses.Recv()
	if err == io.EOF {
		return err
	}
	if err != nil {
		return fromRPC(r.ctx, err, question)
	}
	r.LatestVersion, r.Partition = response.LatestVersion, response.Partition
	r.records = recordsFromWire(r.topic, response.Partition, response.Records, 0)
	return nil
}
