import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * W1 and W2 in Flink SQL and W3 as a DataStream, exactly once, over a topic from its start to the end that it has at the
 * start.
 *
 * <p>{@code Job w1|w2|w3 BROKERS TOPIC HOME OUT…}: once for each OUT, one after the other in this process. OUT is a folder
 * of HOME (w1, w2) or a topic that exists (w3).
 */
public final class Job {
    private static final String COLUMNS =
            """
            event_id STRING, seq BIGINT, user_id BIGINT, ts TIMESTAMP_LTZ(3), `type` STRING, url STRING,
            price DOUBLE, quantity INT, country STRING, mobile BOOLEAN""";
    private static final String PURCHASES = "user_id BIGINT, ts TIMESTAMP_LTZ(3), amount DOUBLE";
    private static final String SELECT_PURCHASES =
            "SELECT user_id, ts, price * quantity AS amount FROM clicks WHERE `type` = 'purchase'";

    private Job() {}

    public static void main(String[] args) {
        Timed.all(() -> {
            for (int i = 4; i < args.length; i++) {
                String out = args[i];
                Timed.run(() -> {
                    run(args[0], args[1], args[2], Path.of(args[3]), out);
                    return null;
                });
            }
            return null;
        });
    }

    private static void run(String workload, String brokers, String topic, Path home, String out) throws Exception {
        StreamExecutionEnvironment flink = environment(home.resolve("checkpoints-" + out));
        switch (workload) {
            case "w1" -> files(flink, brokers, topic, home.resolve(out), COLUMNS, "SELECT * FROM clicks");
            case "w2" -> files(flink, brokers, topic, home.resolve(out), PURCHASES, SELECT_PURCHASES);
            case "w3" -> topic(flink, brokers, topic, out);
            default -> throw new IllegalArgumentException("no workload " + workload);
        }
    }

    private static StreamExecutionEnvironment environment(Path checkpoints) {
        String cores = Integer.toString(Runtime.getRuntime().availableProcessors());
        return StreamExecutionEnvironment.createLocalEnvironment(Configuration.fromMap(Map.of(
                "taskmanager.numberOfTaskSlots", cores,
                "parallelism.default", cores,
                "execution.checkpointing.mode", "EXACTLY_ONCE",
                "execution.checkpointing.interval", "10 s",
                "execution.checkpointing.dir", checkpoints.toUri().toString(),
                // Flink's own advice for jobs whose functions keep no object, as these.
                "pipeline.object-reuse", "true",
                // On a machine that all share, one who is late is not lost; the default is 50 s.
                "heartbeat.timeout", "10 min",
                "pekko.ask.timeout", "10 min",
                "restart-strategy.type", "disable")));
    }

    private static void files(
            StreamExecutionEnvironment flink, String brokers, String topic, Path out, String columns, String select)
            throws Exception {
        StreamTableEnvironment sql = StreamTableEnvironment.create(flink);
        sql.getConfig().setLocalTimeZone(java.time.ZoneOffset.UTC);
        sql.executeSql(
                """
                CREATE TABLE clicks (%s) WITH (
                  'connector' = 'kafka', 'topic' = '%s',
                  'properties.bootstrap.servers' = '%s', 'properties.group.id' = 'flink-files',
                  'properties.max.partition.fetch.bytes' = '4194304', 'properties.max.poll.records' = '5000',
                  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
                  'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')"""
                        .formatted(COLUMNS, topic, brokers));
        sql.executeSql(
                """
                CREATE TABLE files (%s) WITH (
                  'connector' = 'filesystem', 'path' = '%s', 'format' = 'parquet',
                  'parquet.compression' = 'SNAPPY', 'parquet.write.int64.timestamp' = 'true')"""
                        .formatted(columns, out.toUri()));
        sql.executeSql("INSERT INTO files " + select).await();
    }

    private static void topic(StreamExecutionEnvironment flink, String brokers, String topic, String out) throws Exception {
        KafkaSource<Message> source = KafkaSource.<Message>builder()
                .setBootstrapServers(brokers)
                .setTopics(topic)
                .setGroupId("flink-w3")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setProperty("max.partition.fetch.bytes", "4194304")
                .setProperty("max.poll.records", "5000")
                .setDeserializer(new Purchases())
                .build();
        KafkaSink<Message> sink = KafkaSink.<Message>builder()
                .setBootstrapServers(brokers)
                .setRecordSerializer(new AsItCame(out))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix("flink-" + out)
                // Below the broker's transaction.max.timeout.ms, as Flink's documentation asks.
                .setProperty("transaction.timeout.ms", "600000")
                .setProperty("compression.type", "lz4")
                .setProperty("linger.ms", "20")
                .setProperty("batch.size", "262144")
                .build();
        flink.fromSource(source, WatermarkStrategy.noWatermarks(), "clicks").sinkTo(sink);
        flink.execute("w3");
    }

    /** Key and value of a message. */
    public static final class Message {
        public byte[] key;
        public byte[] value;

        public Message() {}

        Message(byte[] key, byte[] value) {
            this.key = key;
            this.value = value;
        }
    }

    /** Reads the JSON of every message to its end, and passes the purchases on as bytes. */
    private static final class Purchases implements KafkaRecordDeserializationSchema<Message> {
        private static final long serialVersionUID = 1;
        private transient JsonFactory json;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Message> out) throws IOException {
            if (json == null) {
                json = new JsonFactory();
            }
            boolean purchase = false;
            int depth = 0;
            try (JsonParser parser = json.createParser(record.value())) {
                for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                    if (token.isStructStart()) {
                        depth++;
                    } else if (token.isStructEnd()) {
                        depth--;
                    } else if (depth == 1 && token == JsonToken.VALUE_STRING && "type".equals(parser.currentName())) {
                        purchase = "purchase".equals(parser.getText());
                    }
                }
            }
            if (purchase) {
                out.collect(new Message(record.key(), record.value()));
            }
        }

        @Override
        public TypeInformation<Message> getProducedType() {
            return Types.POJO(Message.class);
        }
    }

    private static final class AsItCame implements KafkaRecordSerializationSchema<Message> {
        private static final long serialVersionUID = 1;
        private final String topic;

        AsItCame(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Message message, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topic, message.key, message.value);
        }
    }
}
