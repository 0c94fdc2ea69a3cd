package taffrail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	pb "taffrail.dev/go/taffrailv1"
)

// ProducerOptions are the options of a producer; the zero value is a good default.
type ProducerOptions struct {
	// Name fences: once another producer of this name is opened, this one appends nothing more.
	Name string
	// GiveUpAfter is for how long an append is tried again; 0: two minutes.
	GiveUpAfter time.Duration
	// AttemptTimeout is how long to wait for one answer; 0: 30 s.
	AttemptTimeout time.Duration
	// ReturnVersions asks for Range.Versions.
	ReturnVersions bool
}

// Producer appends to one topic, one request at a time: Append waits for those before it. It may be used by many
// goroutines.
//
// Every append is numbered, and sent again with its number when its answer is lost, so that it is stored once however often
// it is sent. For more throughput append more records at a time, or use more producers.
type Producer struct {
	client  *Client
	topic   Topic
	wire    *pb.Producer
	options ProducerOptions
	// Held by the call that appends.
	turn chan struct{}
	next map[uint32]uint64
	// The partition for records without a key.
	rotating uint32
	// The request whose outcome is not known yet.
	unresolved *pb.AppendRequest
	// An attempt to send it may have stored it.
	isInDoubt bool
	ended     error
}

// Producer opens a producer for a topic.
func (c *Client) Producer(ctx context.Context, topic string, options ProducerOptions) (*Producer, error) {
	if options.GiveUpAfter == 0 {
		options.GiveUpAfter = 2 * time.Minute
	}
	if options.AttemptTimeout == 0 {
		options.AttemptTimeout = 30 * time.Second
	}
	described, err := c.DescribeTopic(ctx, topic)
	if err != nil {
		return nil, err
	}
	opened, err := c.log.OpenProducer(ctx, &pb.OpenProducerRequest{Name: options.Name})
	return answered(ctx, err, change, func() *Producer {
		return &Producer{
			client: c, topic: described, wire: opened.Producer, options: options,
			turn: make(chan struct{}, 1), next: map[uint32]uint64{},
		}
	})
}

// Append appends all records, or none, each to its key's partition.
//
// ErrFenced is final. After ErrOutcomeUnknown, when the broker could not be asked for too long or the context ended,
// Resend goes on asking; other appends are refused until it has succeeded.
func (p *Producer) Append(ctx context.Context, records ...Record) (Appended, error) {
	return p.append(ctx, records, func(record Record) uint32 {
		if record.Key == nil {
			return p.rotating
		}
		return partitionOfKey(record.Key, p.topic.PartitionCount)
	})
}

// AppendTo is Append to one partition.
func (p *Producer) AppendTo(ctx context.Context, partition uint32, records ...Record) (Appended, error) {
	return p.append(ctx, records, func(Record) uint32 { return partition })
}

// Resend sends the append again whose outcome is not known, with its number: it is stored once, whatever became of it before.
// False if there is no such append.
func (p *Producer) Resend(ctx context.Context) (Appended, bool, error) {
	if err := p.take(ctx); err != nil {
		return Appended{}, false, err
	}
	defer p.giveBack()
	if p.unresolved == nil {
		return Appended{}, false, p.ended
	}
	appended, err := p.deliver(ctx)
	return appended, true, err
}

func (p *Producer) append(ctx context.Context, records []Record, partitionOf func(Record) uint32) (Appended, error) {
	if err := p.take(ctx); err != nil {
		return Appended{}, err
	}
	defer p.giveBack()
	if p.ended != nil {
		return Appended{}, p.ended
	}
	if p.unresolved != nil {
		return Appended{}, outcomeUnknown("what became of the append before is not known: find out with Resend", nil)
	}
	byPartition := map[uint32][]Record{}
	var partitions []uint32
	for _, record := range records {
		partition := partitionOf(record)
		if byPartition[partition] == nil {
			partitions = append(partitions, partition)
		}
		byPartition[partition] = append(byPartition[partition], record)
	}
	p.rotating = (p.rotating + 1) % p.topic.PartitionCount
	request := &pb.AppendRequest{Producer: p.wire, ReturnVersions: p.options.ReturnVersions}
	for _, partition := range partitions {
		sequence := p.next[partition]
		request.Batches = append(request.Batches, &pb.AppendBatch{
			Topic: p.topic.Name, TopicId: p.topic.ID, Partition: &partition, Sequence: &sequence,
			Records: recordsToWire(byPartition[partition]),
		})
	}
	p.unresolved, p.isInDoubt = request, false
	return p.deliver(ctx)
}

// deliver sends what is unresolved until it is answered.
func (p *Producer) deliver(ctx context.Context) (Appended, error) {
	retries := newRetries(p.options.GiveUpAfter)
	for {
		response, failure := p.attempt(ctx)
		if failure == nil {
			for _, batch := range p.unresolved.Batches {
				p.next[batch.GetPartition()]++
			}
			p.unresolved = nil
			return appendedFromWire(p.topic.Name, response.Batches...), nil
		}
		if failure.kind == ErrOutcomeUnknown {
			p.isInDoubt = true
		}
		if slices.Contains([]string{"FENCED", "UNKNOWN_PRODUCER", "OUT_OF_SEQUENCE", "TOPIC_RECREATED"}, failure.Reason) {
			p.ended = failure
		}
		if err := retries.wait(ctx, failure); err != nil {
			return Appended{}, p.giveUp(failure)
		}
	}
}

func (p *Producer) attempt(ctx context.Context) (*pb.AppendResponse, *Error) {
	ctx, cancel := context.WithTimeout(ctx, p.options.AttemptTimeout)
	defer cancel()
	response, err := p.client.log.Append(ctx, p.unresolved)
	if err != nil {
		return nil, fromRPC(ctx, err, change)
	}
	return response, nil
}

// giveUp says what there is to say when there is no further attempt.
func (p *Producer) giveUp(failure *Error) error {
	if !p.isInDoubt {
		// Nothing of the request is stored, and its sequence numbers are free again.
		p.unresolved = nil
		return failure
	}
	if p.ended != nil || failure.kind == ErrOutcomeUnknown {
		return failure
	}
	return outcomeUnknown(fmt.Sprintf("an attempt to append was not answered, and the last one failed: %v", failure), failure)
}

func outcomeUnknown(message string, cause error) error {
	return &Error{Code: codes.Unknown, Message: message, kind: ErrOutcomeUnknown, cause: cause}
}

// take waits for the producer's turn.
func (p *Producer) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		// Nothing was sent.
		message := "another append is under way"
		return &Error{Code: codes.Unavailable, Message: message, kind: ErrUnavailable, cause: errors.Join(ctx.Err())}
	}
}

func (p *Producer) giveBack() { <-p.turn }
