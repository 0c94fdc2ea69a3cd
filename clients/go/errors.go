package taffrail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "taffrail.dev/go/taffrailv1"
)

// What an error means for the caller; errors.Is tells.
var (
	// ErrUnavailable: the broker cannot be reached, is shutting down, or did not answer a question. Nothing was changed.
	ErrUnavailable = errors.New("the broker is not available")
	// ErrOutcomeUnknown: the answer to a change was lost: it was made, or not. Read to find out.
	ErrOutcomeUnknown = errors.New("the outcome is unknown")
	// ErrClosed: the client was closed before the call was sent. Final.
	ErrClosed = errors.New("the client was closed")
	// ErrRefused: the broker refused. Nothing was stored or changed. All that follow are this too.
	ErrRefused = errors.New("refused")
	// ErrNotFound: there is no such topic, partition, group or erasure.
	ErrNotFound = errors.New("not found")
	// ErrAlreadyExists: there is one of that name already.
	ErrAlreadyExists = errors.New("already exists")
	// ErrConflict: conditions of an append do not hold; see Error.Failed.
	ErrConflict = errors.New("conflict")
	// ErrFenced: another producer or member has taken over. Final.
	ErrFenced = errors.New("fenced")
	// ErrOffsetOutOfRange: the place to read from is trimmed, or above the end. Number has "partition", "earliest" and
	// "high_watermark".
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrDamagedRecords: records are damaged on disk. Number has "partition", "from_offset" and "to_offset", from which
	// everything can be read.
	ErrDamagedRecords = errors.New("damaged records")
)

// Error is the error of a call. Where the context of the call has ended, errors.Is finds that in it too.
type Error struct {
	// Code is the status code of gRPC.
	Code codes.Code
	// Reason is the broker's, for programs, such as UNKNOWN_TOPIC: the files in proto/ list them call by call. It is empty
	// if the error is not an answer of the broker.
	Reason string
	// Message is for people.
	Message string
	// Metadata has the values that the message mentions, by name.
	Metadata map[string]string
	// RetryAfter is when to try again, where the broker says so.
	RetryAfter time.Duration
	// Failed has the conditions that do not hold, in their order, where it is a conflict.
	Failed []FailedCondition

	kind  error
	cause error
}

// FailedCondition is a condition of an append that does not hold.
type FailedCondition struct {
	// Index is its place in the request, from 0.
	Index int
	// Actual is the version that the entity has, 0 for none, or the offset that the partition's next record gets.
	Actual uint64
}

func (e *Error) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.Reason)
	}
	return fmt.Sprintf("%v: %s", e.kind, e.Message)
}

// Is says whether the error is of this kind.
func (e *Error) Is(kind error) bool {
	isRefused := e.kind != ErrUnavailable && e.kind != ErrOutcomeUnknown && e.kind != ErrClosed
	return kind == e.kind || kind == ErrRefused && isRefused
}

// Unwrap has the status of gRPC, and why the context had ended.
func (e *Error) Unwrap() error { return e.cause }

// Number is a number of the metadata; 0 if it is not there.
func (e *Error) Number(name string) uint64 {
	number, _ := strconv.ParseUint(e.Metadata[name], 10, 64)
	return number
}

// Actual is what the first condition that does not hold is compared with: see FailedCondition. 0 if it is no conflict.
func (e *Error) Actual() uint64 {
	if len(e.Failed) == 0 {
		return 0
	}
	return e.Failed[0].Actual
}

func isWorthAnotherTry(err *Error) bool {
	switch err.Reason {
	case "OVERLOADED", "DISK_FULL", "PARTITION_FULL", "RETENTION_HELD":
		return true
	}
	// What is refused until then says so, as a quota does.
	return err.kind == ErrUnavailable || err.kind == ErrOutcomeUnknown || err.RetryAfter > 0
}

// What a lost answer leaves open.
var (
	question = ErrUnavailable
	change   = ErrOutcomeUnknown
)

// fromRPC makes an Error of the error of a call. A status that carries google.rpc.ErrorInfo is the broker's own answer; any
// other comes from the connection or something in between, and does not say whether a call was carried out.
func fromRPC(ctx context.Context, err error, lost error) *Error {
	told := status.Convert(err)
	made := &Error{Code: told.Code(), Message: told.Message(), cause: err}
	if ended := ctx.Err(); ended != nil {
		made.cause = errors.Join(err, ended)
	} else if told.Code() == codes.DeadlineExceeded {
		made.cause = errors.Join(err, context.DeadlineExceeded)
	}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			made.Reason, made.Metadata = detail.Reason, detail.Metadata
		case *errdetails.RetryInfo:
			made.RetryAfter = detail.RetryDelay.AsDuration()
		case *pb.Conflict:
			made.Failed = failedConditions(detail)
		}
	}
	made.kind = kindOf(made, lost)
	return made
}

func kindOf(err *Error, lost error) error {
	switch {
	case err.Reason == "":
		return kindWithoutReason(err, lost)
	case err.Reason == "CONFLICT":
		return ErrConflict
	case slices.Contains([]string{"FENCED", "COMMIT_FENCED", "OUT_OF_SEQUENCE", "UNKNOWN_PRODUCER"}, err.Reason):
		return ErrFenced
	case err.Code == codes.Unavailable:
		return ErrUnavailable
	case err.Code == codes.Unknown || err.Code == codes.DeadlineExceeded:
		// The broker has stopped waiting, not what it waited for.
		return lost
	}
	return refusal(err.Code)
}

func kindWithoutReason(err *Error, lost error) error {
	if err.Code == codes.Canceled && err.Message == closedMessage {
		return ErrClosed
	}
	// Then it was never sent. Where grpc-go says it in other words, the outcome of a change counts as unknown, which is
	// never wrong.
	if strings.Contains(err.Message, "Error while dialing") {
		return ErrUnavailable
	}
	switch err.Code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition,
		codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated,
		// What grpc-go answers to a message over its own limit: trying again does not make it smaller.
		codes.ResourceExhausted:
		return refusal(err.Code)
	}
	return lost
}

func refusal(code codes.Code) error {
	switch code {
	case codes.NotFound:
		return ErrNotFound
	case codes.AlreadyExists:
		return ErrAlreadyExists
	case codes.OutOfRange:
		return ErrOffsetOutOfRange
	case codes.DataLoss:
		return ErrDamagedRecords
	}
	return ErrRefused
}

const closedMessage = "the call was not sent"

var errClosed = status.Error(codes.Canceled, closedMessage)

// refuseClosed tells what comes after Close from what was under way then, which grpc-go does not.
func refuseClosed(isClosed *atomic.Bool) grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, request, response any, conn *grpc.ClientConn, call grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		if isClosed.Load() {
			return errClosed
		}
		return call(ctx, method, request, response, conn, options...)
	}
}

// refuseClosedStream is the same for streams, what is sent on them included.
func refuseClosedStream(isClosed *atomic.Bool) grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, stream *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
		options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		if isClosed.Load() {
			return nil, errClosed
		}
		opened, err := open(ctx, stream, conn, method, options...)
		if err != nil {
			return nil, err
		}
		return encodableStream{opened}, nil
	}
}

// encodableStream says of its messages what refuseUnencodable says of requests.
type encodableStream struct{ grpc.ClientStream }

func (s encodableStream) SendMsg(message any) error {
	return orUnencodable(message, s.ClientStream.SendMsg(message))
}

// refuseUnencodable says that what cannot be encoded, as text that is not UTF-8, was not sent: grpc-go answers INTERNAL,
// which leaves open whether it was carried out.
func refuseUnencodable(
	ctx context.Context, method string, request, response any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	return orUnencodable(request, call(ctx, method, request, response, conn, options...))
}

func orUnencodable(request any, err error) error {
	message, isMessage := request.(proto.Message)
	if status.Code(err) == codes.Internal && isMessage {
		if unencodable := checkEncoding(message); unencodable != nil {
			return unencodable
		}
	}
	return err
}

func checkEncoding(message proto.Message) error {
	if _, err := proto.Marshal(message); err != nil {
		return status.Error(codes.InvalidArgument, "the request cannot be encoded: "+err.Error())
	}
	return nil
}

func failedConditions(conflict *pb.Conflict) []FailedCondition {
	var failed []FailedCondition
	for _, each := range conflict.Failed {
		actual := each.GetVersion()
		if offset, ok := each.Actual.(*pb.FailedCondition_NextOffset); ok {
			actual = offset.NextOffset
		}
		failed = append(failed, FailedCondition{Index: int(each.Index), Actual: actual})
	}
	return failed
}
