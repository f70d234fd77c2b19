import static org.apache.iceberg.types.Types.NestedField.optional;

import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.PartitionSpec;
import org.apache.iceberg.Schema;
import org.apache.iceberg.catalog.TableIdentifier;
import org.apache.iceberg.hadoop.HadoopCatalog;
import org.apache.iceberg.types.Types;

/** {@code CreateTable WAREHOUSE}: makes the table of W1, which the sink would make with other types from what it sees. */
public final class CreateTable {
    private CreateTable() {}

    public static void main(String[] args) throws Exception {
        Schema columns = new Schema(
                optional(1, "event_id", Types.StringType.get()),
                optional(2, "seq", Types.LongType.get()),
                optional(3, "user_id", Types.LongType.get()),
                optional(4, "ts", Types.TimestampType.withZone()),
                optional(5, "type", Types.StringType.get()),
                optional(6, "url", Types.StringType.get()),
                optional(7, "price", Types.DoubleType.get()),
                optional(8, "quantity", Types.IntegerType.get()),
                optional(9, "country", Types.StringType.get()),
                optional(10, "mobile", Types.BooleanType.get()));
        try (HadoopCatalog catalog = new HadoopCatalog(new Configuration(), "file://" + args[0])) {
            catalog.createTable(
                    TableIdentifier.of("peers", "clicks"),
                    columns,
                    PartitionSpec.unpartitioned(),
                    Map.of("write.parquet.compression-codec", "snappy"));
        }
    }
}
