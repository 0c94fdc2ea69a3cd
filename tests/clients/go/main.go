// Pipelines small appends over one stream, as a program with a queue of its own does: a goroutine
// sends as fast as flow control lets it, another takes the answers. grpc-go sends a DATA frame for
// every message, most of them of a few bytes, and a server that takes this for an attack ends the
// connection and all other calls on it.
//
// Usage: pipeline ADDRESS REQUESTS
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "pipeline/taffrail/v1"
)

const timeout = 5 * time.Minute

func main() {
	log.SetFlags(0)
	requests, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	for _, valueBytes := range []int{0, 10, 100} {
		started := time.Now()
		if err := pipeline(conn, valueBytes, requests); err != nil {
			log.Fatalf("%d requests with a record of %d B each: %v", requests, valueBytes, err)
		}
		seconds := time.Since(started).Seconds()
		fmt.Printf("%d requests with a record of %d B each: all are answered, in %.1f s\n", requests, valueBytes, seconds)
	}
}

// Appends so many records of so many bytes, one in each request, to a topic of their own.
func pipeline(conn *grpc.ClientConn, valueBytes, requests int) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	topic := fmt.Sprintf("pipelined-%d", valueBytes)
	if _, err := pb.NewTopicsClient(conn).Create(ctx, &pb.CreateTopicRequest{Name: topic, Partitions: 1}); err != nil {
		return err
	}
	stream, err := pb.NewLogClient(conn).AppendStream(ctx)
	if err != nil {
		return err
	}
	go send(stream, topic, make([]byte, valueBytes), requests)
	for answered := range requests {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("%d are answered: %w", answered, err)
		}
		appended := response.GetAppended()
		if appended == nil {
			return fmt.Errorf("answer %d is %v", answered, response)
		}
		if offset := appended.Batches[0].Ranges[0].FirstOffset; offset != uint64(answered) {
			return fmt.Errorf("answer %d names offset %d", answered, offset)
		}
	}
	return watermark(ctx, conn, topic, uint64(requests))
}

// Sends until all is sent or the stream has ended; why it has is what its receiver is told.
func send(stream pb.Log_AppendStreamClient, topic string, value []byte, requests int) {
	record := &pb.Record{Value: value}
	request := &pb.AppendRequest{Batches: []*pb.AppendBatch{{Topic: topic, Records: []*pb.Record{record}}}}
	for range requests {
		if stream.Send(request) != nil {
			return
		}
	}
	_ = stream.CloseSend()
}

// Fails unless the topic's only partition has so many records.
func watermark(ctx context.Context, conn *grpc.ClientConn, topic string, expected uint64) error {
	found, err := pb.NewLogClient(conn).ListOffsets(ctx, &pb.ListOffsetsRequest{Topic: topic})
	if err != nil {
		return err
	}
	if actual := found.Offsets[0].HighWatermark; actual != expected {
		return fmt.Errorf("%d of %d records are stored", actual, expected)
	}
	return nil
}
