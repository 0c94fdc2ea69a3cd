package taffrail

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "taffrail.dev/go/taffrailv1"
)

// CommitOutcome is what came of an offset that was to be committed.
type CommitOutcome pb.CommitOutcome

const (
	CommitDone = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_DONE)
	// CommitUnchanged: as much or more was committed already.
	CommitUnchanged = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_UNCHANGED)
	// CommitFenced: the partition is not this member's any more.
	CommitFenced           = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_FENCED)
	CommitUnknownPartition = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_UNKNOWN_PARTITION)
	CommitBeyondEnd        = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_BEYOND_END)
	CommitOutcomeUnknown   = CommitOutcome(pb.CommitOutcome_COMMIT_OUTCOME_OUTCOME_UNKNOWN)
)

func (o CommitOutcome) String() string { return pb.CommitOutcome(o).String() }

func outcomesFromWire(results []*pb.CommitResult) []CommitOutcome {
	outcomes := make([]CommitOutcome, len(results))
	for at, each := range results {
		outcomes[at] = CommitOutcome(each.Outcome)
	}
	return outcomes
}

// arrival is what comes down a member's stream: a response, or why there is none any more.
type arrival struct {
	response *pb.ConsumeResponse
	err      error
}

// memberStream is the stream of a member: what comes is taken off it at once, and a heartbeat is sent where nothing else is.
type memberStream struct {
	up     *mailbox[*pb.ConsumeRequest]
	down   *mailbox[arrival]
	cancel context.CancelFunc
}

func openMemberStream(groups pb.GroupsClient, join *pb.JoinGroup, heartbeat time.Duration) *memberStream {
	ctx, cancel := context.WithCancel(context.Background())
	stream := &memberStream{up: newMailbox[*pb.ConsumeRequest](), down: newMailbox[arrival](), cancel: cancel}
	// The member's own gets an id while this is being sent.
	first := proto.Clone(join).(*pb.JoinGroup)
	if err := checkEncoding(first); err != nil {
		stream.down.put(arrival{err: err})
		return stream
	}
	stream.up.put(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Join{Join: first}})
	go func() {
		calls, err := groups.Consume(ctx)
		if err != nil {
			stream.down.put(arrival{err: err})
			return
		}
		go stream.sendAll(ctx, calls, heartbeat)
		stream.receiveAll(calls)
	}()
	return stream
}

// sendAll sends what is put into `up`, until that is nil.
func (s *memberStream) sendAll(ctx context.Context, calls grpc.BidiStreamingClient[pb.ConsumeRequest, pb.ConsumeResponse], heartbeat time.Duration) {
	for {
		waiting, cancel := context.WithTimeout(ctx, heartbeat)
		request, err := s.up.wait(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			request = &pb.ConsumeRequest{Message: &pb.ConsumeRequest_StillWorking{StillWorking: &pb.StillWorking{}}}
		case request == nil:
			// How the stream ends is told to whoever receives.
			_ = calls.CloseSend()
			return
		}
		if calls.Send(request) != nil {
			return
		}
	}
}

func (s *memberStream) receiveAll(calls grpc.BidiStreamingClient[pb.ConsumeRequest, pb.ConsumeResponse]) {
	for {
		response, err := calls.Recv()
		if errors.Is(err, io.EOF) {
			err = status.Error(codes.Unavailable, "the broker has ended the stream")
		}
		s.down.put(arrival{response, err})
		if err != nil {
			return
		}
	}
}

// mailbox is a queue that one goroutine puts into and another one takes from. What bounds it is the member's credit.
type mailbox[T any] struct {
	mutex sync.Mutex
	items []T
	// Has an element when something was put in since it was looked at.
	notify chan struct{}
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{notify: make(chan struct{}, 1)} }

func (m *mailbox[T]) put(item T) {
	m.mutex.Lock()
	m.items = append(m.items, item)
	m.mutex.Unlock()
	select {
	case m.notify <- struct{}{}:
	default:
	}
}

func (m *mailbox[T]) poll() (T, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var none T
	if len(m.items) == 0 {
		return none, false
	}
	item := m.items[0]
	m.items = m.items[1:]
	return item, true
}

// wait takes the next item, or says why the context has ended.
func (m *mailbox[T]) wait(ctx context.Context) (T, error) {
	for {
		if item, isThere := m.poll(); isThere {
			return item, nil
		}
		select {
		case <-m.notify:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}
