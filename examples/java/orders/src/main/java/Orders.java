import dev.taffrail.Client;
import dev.taffrail.KeyReading;
import dev.taffrail.Member;
import dev.taffrail.StoredRecord;
import dev.taffrail.TaffrailException.ConditionFailed;
import dev.taffrail.Wire;
import dev.taffrail.v1.Partition;
import dev.taffrail.v1.ReadKeyRequest;
import dev.taffrail.v1.Record;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** A small order service: orders that never sell more than there is, and projections of them. */
public class Orders {
  static final String TOPIC = "orders";

  /** How many pieces of each article there are to sell. */
  static final Map<String, Integer> STOCK = Map.of("lamp", 5, "chair", 2);

  /** Whether there was a piece left for this customer. */
  static boolean order(Client client, String article, String customer) {
    Record placed = Wire.record(article, customer);
    while (true) {
      int pieces = 0;
      long version = 0;
      // An article is an entity, its records the orders.
      var request = ReadKeyRequest.newBuilder().setTopic(TOPIC).setKey(placed.getKey());
      try (KeyReading orders = client.readKey(request.build())) {
        for (StoredRecord each : orders) {
          pieces++;
          version = each.version();
        }
      }
      if (pieces == STOCK.get(article)) {
        return false;
      }
      try {
        // Only if nobody else has ordered the article since it was read.
        client.append(TOPIC, List.of(placed), Wire.atVersion(TOPIC, placed.getKey(), version));
        return true;
      } catch (ConditionFailed conflict) {
        // Somebody has: decide again, on what there is now.
      }
    }
  }

  /** Goes on where its group has come to: counts the orders, and thanks for each, once. */
  static void project(Client client, String group) {
    Map<String, Integer> pieces = new HashMap<>(Map.of("lamp", 0, "chair", 0));
    Map<Integer, Long> nextOffsets = new HashMap<>();
    int thanked = 0;
    List<Partition> ends = client.describeTopic(TOPIC).getPartitionsList();
    try (Member member = client.join(group, new Member.Options().topics(TOPIC))) {
      client.committed(group).forEach(each -> nextOffsets.put(each.getPartition(), each.getNextOffset()));
      for (Partition end : ends) {
        while (nextOffsets.getOrDefault(end.getPartition(), 0L) < end.getHighWatermark()) {
          StoredRecord placed = member.next();
          if (placed.offset() < nextOffsets.getOrDefault(placed.partition(), 0L)) {
            continue; // it came again, after a break
          }
          nextOffsets.put(placed.partition(), placed.offset() + 1);
          pieces.merge(placed.key().toStringUtf8(), 1, Integer::sum);
          if (!placed.isReplayed()) {
            thanked++;
          }
        }
      }
      member.leave(); // commits what was handled
    }
    System.out.printf("%s: lamps %d, chairs %d, thanked %d%n", group, pieces.get("lamp"), pieces.get("chair"), thanked);
  }

  /** Takes the address of the broker, by default 127.0.0.1:9640. */
  public static void main(String[] arguments) {
    try (Client client = Client.connect(arguments.length > 0 ? arguments[0] : "127.0.0.1:9640")) {
      client.createTopic(TOPIC, 3, Map.of());
      IntStream customers = IntStream.range(0, 8).parallel();
      long served = customers.filter(number -> order(client, "lamp", "customer-" + number)).count();
      System.out.println("8 customers want a lamp, " + served + " get one");
      project(client, "totals-1");

      order(client, "chair", "alice");
      // Another group reads all orders again, and is told which the first one has handled: it thanks for the rest.
      client.forkGroup("totals-1", "totals-2", true);
      project(client, "totals-2");
    }
  }
}
