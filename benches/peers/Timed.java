import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.concurrent.Callable;

/** Runs a job and prints what it took: one line, {@code job {"wall_seconds":…,"cpu_seconds":…}}. */
final class Timed {
    private Timed() {}

    /** CPU seconds are those of all threads of this process: the job's, the compiler's, the collector's. */
    static void run(Callable<Void> job) throws Exception {
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long cpu = system.getProcessCpuTime();
        long begun = System.nanoTime();
        job.call();
        double wall = (System.nanoTime() - begun) / 1e9;
        double used = (system.getProcessCpuTime() - cpu) / 1e9;
        System.out.printf(Locale.ROOT, "job {\"wall_seconds\":%.3f,\"cpu_seconds\":%.3f}%n", wall, used);
    }
}
