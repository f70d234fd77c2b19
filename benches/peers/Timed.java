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

    /**
     * Does all the work and ends the process, whatever threads an engine has left: with 1 if the work failed, and the
     * reason in the last lines.
     */
    static void all(Callable<Void> work) {
        try {
            work.call();
        } catch (Throwable failure) {
            failure.printStackTrace();
            for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
                System.err.println("failed: " + cause);
            }
            System.err.flush();
            // Not even an exit hook of what has failed may hold it up.
            Runtime.getRuntime().halt(1);
        }
        System.exit(0);
    }
}
