// A small order service: orders that never sell more than there is, and projections of them.
//
// Usage: go run . [HOST:PORT]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	taffrail "taffrail.dev/go"
)

const topic = "orders"

var stock = map[string]int{"lamp": 5, "chair": 2} // how many pieces of each article there are to sell

// order says whether there was a piece left for this customer.
func order(ctx context.Context, client *taffrail.Client, article, customer string) (bool, error) {
	placed := taffrail.Record{Key: []byte(article), Type: "ordered", Value: []byte(customer)}
	for {
		sold, version, err := sold(ctx, client, article)
		if err != nil || sold == stock[article] {
			return false, err
		}
		// Only if nobody else has ordered the article since it was read.
		unchanged := taffrail.KeyAtVersion(placed.Key, version)
		_, err = client.Append(ctx, topic, []taffrail.Record{placed}, unchanged)
		if errors.Is(err, taffrail.ErrConflict) {
			continue // somebody has: decide again, on what there is now
		}
		return err == nil, err
	}
}

// sold is how many pieces of an article were sold, and its version: an article is an entity, its records the orders.
func sold(ctx context.Context, client *taffrail.Client, article string) (pieces int, version uint64, err error) {
	orders, err := client.ReadKey(ctx, topic, []byte(article), taffrail.KeyOptions{})
	if err != nil {
		return 0, 0, err
	}
	for placed, err := range orders.All() {
		if err != nil {
			return 0, 0, err
		}
		pieces, version = pieces+1, placed.Version
	}
	return pieces, version, nil
}

// project goes on where its group has come to: it counts the orders, and thanks for each, once.
func project(ctx context.Context, client *taffrail.Client, group string) {
	described, err := client.DescribeTopic(ctx, topic)
	check(err)
	member, err := client.Join(ctx, group, taffrail.JoinOptions{Topics: []string{topic}})
	check(err)
	next, err := client.Committed(ctx, group)
	check(err)
	counts, thanked := map[string]int{}, 0
	for _, end := range described.Partitions {
		for next[taffrail.TopicPartition{Topic: topic, Partition: end.Partition}] < end.HighWatermark {
			placed, err := member.Next(ctx)
			check(err)
			place := taffrail.TopicPartition{Topic: topic, Partition: placed.Partition}
			if placed.Offset < next[place] {
				continue // it came again, after a break
			}
			next[place] = placed.Offset + 1
			counts[string(placed.Key)]++
			if !placed.Replayed {
				thanked++
			}
		}
	}
	check(member.Leave(ctx)) // commits what was handled
	fmt.Printf("%s: lamps %d, chairs %d, thanked %d\n", group, counts["lamp"], counts["chair"], thanked)
}

func main() {
	ctx := context.Background()
	client, err := taffrail.New(append(os.Args, "127.0.0.1:9640")[1])
	check(err)
	defer client.Close()
	_, err = client.CreateTopic(ctx, topic, 3, nil)
	check(err)
	served := make(chan bool)
	for number := range 8 {
		go func() {
			isServed, err := order(ctx, client, "lamp", fmt.Sprintf("customer-%d", number))
			check(err)
			served <- isServed
		}()
	}
	lamps := 0
	for range 8 {
		if <-served {
			lamps++
		}
	}
	fmt.Printf("8 customers want a lamp, %d get one\n", lamps)
	project(ctx, client, "totals-1")
	_, err = order(ctx, client, "chair", "alice")
	check(err)
	// Another group reads all orders again, and is told which the first one has handled: it thanks for the rest.
	check(client.ForkGroup(ctx, "totals-1", "totals-2", true))
	project(ctx, client, "totals-2")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
