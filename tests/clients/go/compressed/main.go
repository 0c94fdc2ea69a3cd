// Calls whose messages grpc-go compresses: with gzip, which it brings, and with zstd, a codec that
// a program registers. The bytes that go each way are counted.
//
// Usage: compressed ADDRESS
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"

	pb "pipeline/taffrail/v1"
)

const (
	timeout = time.Minute
	batches = 4
	// Of each batch.
	records = 500
	// One in each request on a stream.
	streamed = 100
)

var value = bytes.Repeat([]byte(`{"type":"departed","flight":"UA1545","origin":"EWR","dest":"IAH"}`), 30)

func main() {
	log.SetFlags(0)
	encoding.RegisterCompressor(zstandard{})
	plain, err := run(os.Args[1], "")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{gzip.Name, "zstd"} {
		compressed, err := run(os.Args[1], name)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		if compressed.sent*5 > plain.sent || compressed.received*5 > plain.received {
			log.Fatalf("%s: %+v, without: %+v", name, compressed, plain)
		}
		fmt.Printf("%s: sent %d and received %d bytes, %d and %d without\n", name,
			compressed.sent, compressed.received, plain.sent, plain.received)
	}
}

// The bytes of a connection.
type counted struct{ sent, received int64 }

// Appends and reads on a connection of its own, whose messages the named codec compresses.
func run(address, codec string) (counted, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var sent, received atomic.Int64
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			return &counting{conn, &sent, &received}, err
		}),
	}
	if codec != "" {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(codec)))
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return counted{}, err
	}
	defer conn.Close()
	topic := "compressed-" + codec
	if _, err := pb.NewTopicsClient(conn).Create(ctx, &pb.CreateTopicRequest{Name: topic, Partitions: 1}); err != nil {
		return counted{}, err
	}
	if err := appendAll(ctx, pb.NewLogClient(conn), topic); err != nil {
		return counted{}, err
	}
	if err := readAll(ctx, pb.NewLogClient(conn), topic); err != nil {
		return counted{}, err
	}
	return counted{sent.Load(), received.Load()}, nil
}

func appendAll(ctx context.Context, client pb.LogClient, topic string) error {
	batch := &pb.AppendBatch{Topic: topic}
	for range records {
		batch.Records = append(batch.Records, &pb.Record{Value: value})
	}
	request := &pb.AppendRequest{Batches: []*pb.AppendBatch{batch}}
	for range batches {
		if _, err := client.Append(ctx, request); err != nil {
			return err
		}
	}
	stream, err := client.AppendStream(ctx)
	if err != nil {
		return err
	}
	batch.Records = batch.Records[:1]
	for range streamed {
		if err := stream.Send(request); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func readAll(ctx context.Context, client pb.LogClient, topic string) error {
	stream, err := client.Read(ctx, &pb.ReadRequest{Topic: topic})
	if err != nil {
		return err
	}
	found := 0
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, record := range response.Records {
			if record.GetOffset() != uint64(found) || !bytes.Equal(record.Value, value) {
				return fmt.Errorf("record %d is not what was appended", found)
			}
			found++
		}
	}
	if found != batches*records+streamed {
		return fmt.Errorf("%d records were read", found)
	}
	return nil
}

type counting struct {
	net.Conn
	sent, received *atomic.Int64
}

func (c *counting) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.received.Add(int64(n))
	return n, err
}

func (c *counting) Write(from []byte) (int, error) {
	n, err := c.Conn.Write(from)
	c.sent.Add(int64(n))
	return n, err
}

// The codec, as its documentation has it.
type zstandard struct{}

func (zstandard) Name() string { return "zstd" }

func (zstandard) Compress(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
}

func (zstandard) Decompress(r io.Reader) (io.Reader, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return decoder.IOReadCloser(), nil
}
