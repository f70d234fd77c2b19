import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.from_json;
import static org.apache.spark.sql.functions.get_json_object;

import java.nio.file.Path;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.DataStreamWriter;
import org.apache.spark.sql.streaming.Trigger;
import org.apache.spark.sql.types.StructType;

/**
 * W1, W2 and W3 in Structured Streaming over a topic from its start to the end that it has at the start (AvailableNow).
 *
 * <p>{@code Job w1|w2|w3 BROKERS TOPIC HOME OUT…}: once for each OUT, one after the other in this session. OUT is a folder
 * of HOME (w1, w2) or a topic that exists (w3).
 */
public final class Job {
    private static final StructType COLUMNS = StructType.fromDDL(
            "event_id STRING, seq BIGINT, user_id BIGINT, ts TIMESTAMP, type STRING, url STRING, "
                    + "price DOUBLE, quantity INT, country STRING, mobile BOOLEAN");

    private Job() {}

    public static void main(String[] args) {
        Timed.all(() -> {
            run(args);
            return null;
        });
    }

    private static void run(String[] args) throws Exception {
        String workload = args[0];
        String brokers = args[1];
        Path home = Path.of(args[3]);
        SparkSession spark = SparkSession.builder()
                .appName("peer")
                .master("local[*]")
                .config("spark.ui.enabled", "false")
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.local.dir", home.toString())
                .config("spark.sql.warehouse.dir", home.resolve("warehouse").toString())
                .config("spark.sql.session.timeZone", "UTC")
                .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
                .getOrCreate();
        Dataset<Row> records = spark.readStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", brokers)
                .option("subscribe", args[2])
                .option("startingOffsets", "earliest")
                // The consumer's defaults fetch 500 records a poll, 1 MiB a partition.
                .option("kafka.max.poll.records", "20000")
                .option("kafka.max.partition.fetch.bytes", "8388608")
                .load();
        for (int i = 4; i < args.length; i++) {
            String out = args[i];
            Timed.run(() -> {
                DataStreamWriter<Row> writer = switch (workload) {
                    case "w1" -> files(clicks(records), home.resolve(out));
                    case "w2" -> files(purchases(clicks(records)), home.resolve(out));
                    case "w3" -> topic(records, brokers, out);
                    default -> throw new IllegalArgumentException("no workload " + workload);
                };
                writer.option("checkpointLocation", home.resolve("checkpoints-" + out).toString())
                        .trigger(Trigger.AvailableNow())
                        .start()
                        .awaitTermination();
                return null;
            });
        }
        spark.stop();
    }

    private static Dataset<Row> clicks(Dataset<Row> records) {
        return records.select(from_json(col("value").cast("string"), COLUMNS).as("click")).select("click.*");
    }

    private static Dataset<Row> purchases(Dataset<Row> clicks) {
        return clicks.where(col("type").equalTo("purchase"))
                .select(col("user_id"), col("ts"), col("price").multiply(col("quantity")).as("amount"));
    }

    private static DataStreamWriter<Row> files(Dataset<Row> rows, Path out) {
        return rows.writeStream()
                .format("parquet")
                .option("path", out.toString())
                .option("compression", "snappy");
    }

    private static DataStreamWriter<Row> topic(Dataset<Row> records, String brokers, String out) {
        return records.where(get_json_object(col("value").cast("string"), "$.type").equalTo("purchase"))
                .select("key", "value")
                .writeStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", brokers)
                .option("kafka.compression.type", "lz4")
                .option("kafka.linger.ms", "20")
                .option("kafka.batch.size", "262144")
                .option("topic", out);
    }
}
