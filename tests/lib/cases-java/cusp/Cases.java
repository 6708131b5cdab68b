// Runs the cases of a client's driver: one JSON line each, as tests/storage-clients/README.md says.
package cusp;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Predicate;

public final class Cases {
  /** A case fails by throwing, as want() does. */
  public interface Case {
    void run() throws Exception;
  }

  private final Map<String, Case> cases = new LinkedHashMap<>();

  public static void want(boolean ok, Object what) {
    if (!ok) {
      throw new IllegalStateException(String.valueOf(what));
    }
  }

  /** The case is to fail with an error of this kind that is as wanted. */
  public static <E extends Exception> void refused(Class<E> kind, Predicate<E> is, Object wanted, Case c) {
    try {
      c.run();
    } catch (Exception e) {
      want(kind.isInstance(e) && is.test(kind.cast(e)), "want " + wanted + ", got " + e);
      return;
    }
    throw new IllegalStateException("want " + wanted + ", got no error");
  }

  public Cases add(String name, Case c) {
    cases.put(name, c);
    return this;
  }

  private static String quote(String s) {
    StringBuilder b = new StringBuilder("\"");
    for (char c : s.substring(0, Math.min(500, s.length())).toCharArray()) {
      b.append(c == '"' || c == '\\' ? "\\" + c : c < ' ' ? " " : String.valueOf(c));
    }
    return b.append('"').toString();
  }

  /** All of them, in order; then the program ends, with 1 if one has failed. */
  public void runAll(String transport, String version) {
    int failed = 0;
    for (Map.Entry<String, Case> c : cases.entrySet()) {
      long t0 = System.nanoTime();
      String detail = "";
      try {
        c.getValue().run();
      } catch (Throwable e) {
        failed++;
        detail = String.valueOf(e);
      }
      System.out.printf("{\"client\":\"java\",\"version\":%s,\"transport\":\"%s\",\"case\":\"%s\",\"ok\":%s,\"ms\":%d,\"detail\":%s}%n",
          quote(String.valueOf(version)), transport, c.getKey(), detail.isEmpty(), (System.nanoTime() - t0) / 1000000, quote(detail));
    }
    System.exit(failed > 0 ? 1 : 0);
  }
}
