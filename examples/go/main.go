package main

import (
	"context"
	"fmt"
	"io"
	"log"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "orders/taffrail/v1"
)

func main() {
	conn, err := grpc.NewClient("127.0.0.1:9640", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	client, ctx := pb.NewLogClient(conn), context.Background()

	// A new order, stored only if it is not there yet: the second append is a conflict.
	key := []byte("order-4")
	order := &pb.Record{Key: key, Type: "placed", Value: []byte(`{"order":"order-4","type":"placed","total":5}`)}
	absent := &pb.KeyCondition{Key: key, State: &pb.KeyCondition_Absent{Absent: true}}
	request := &pb.AppendRequest{
		Batches:    []*pb.AppendBatch{{Topic: "orders", Records: []*pb.Record{order}}},
		Conditions: []*pb.Condition{{Topic: "orders", About: &pb.Condition_Key{Key: absent}}},
	}
	for range 2 {
		_, err = client.Append(ctx, request)
		fmt.Println(status.Code(err))
		for _, detail := range status.Convert(err).Details() {
			switch detail := detail.(type) {
			case *errdetails.ErrorInfo:
				fmt.Println("reason:", detail.Reason)
			case *pb.Conflict:
				fmt.Println("order-4 is at version", detail.Failed[0].GetVersion())
			}
		}
	}

	responses, err := client.Read(ctx, &pb.ReadRequest{Topic: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	for {
		response, err := responses.Recv()
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, record := range response.Records {
			fmt.Printf("%s %s\n", record.Type, record.Key)
		}
	}
}
