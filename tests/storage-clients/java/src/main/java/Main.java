// The Java storage client against cusp. One JSON line a case; see ../README.md.
import static cusp.Cases.want;

import com.google.cloud.NoCredentials;
import com.google.cloud.Policy;
import com.google.cloud.ReadChannel;
import com.google.cloud.WriteChannel;
import com.google.cloud.storage.Blob;
import com.google.cloud.storage.BlobId;
import com.google.cloud.storage.BlobInfo;
import com.google.cloud.storage.Bucket;
import com.google.cloud.storage.BucketInfo;
import com.google.cloud.storage.CopyWriter;
import com.google.cloud.storage.Storage;
import com.google.cloud.storage.Storage.BlobListOption;
import com.google.cloud.storage.Storage.BlobTargetOption;
import com.google.cloud.storage.StorageBatch;
import com.google.cloud.storage.StorageException;
import com.google.cloud.storage.StorageOptions;
import cusp.Cases;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;

public final class Main {
  static final String NAME = "java-" + UUID.randomUUID().toString().substring(0, 8);
  static final byte[] BIG = new byte[(3 << 20) + 11];
  static Storage storage;

  static void refused(int code, Cases.Case c) {
    Cases.refused(StorageException.class, e -> e.getCode() == code, code, c);
  }

  static BlobInfo info(String name) {
    return BlobInfo.newBuilder(NAME, name).build();
  }

  static void bucket() throws Exception {
    Bucket b = storage.create(BucketInfo.newBuilder(NAME).setLocation("us-central1").setLabels(Map.of("team", "x")).build());
    want("US-CENTRAL1".equals(b.getLocation()) && "x".equals(b.getLabels().get("team")), b);
    refused(409, () -> storage.create(BucketInfo.of(NAME)));
    want(storage.get("no-such-" + NAME) == null, "missing bucket");
    b = b.toBuilder().setLabels(Map.of("more", "y")).build().update();
    want("y".equals(b.getLabels().get("more")), b.getLabels());
    boolean seen = false;
    for (Bucket x : storage.list().iterateAll()) {
      seen |= x.getName().equals(NAME);
    }
    want(seen, "list of buckets");
  }

  static void writeRead() throws Exception {
    BlobInfo i = BlobInfo.newBuilder(NAME, "s/a b.txt").setContentType("text/x-a").setMetadata(Map.of("k", "v")).build();
    Blob b = storage.create(i, "hello".getBytes(), BlobTargetOption.doesNotExist());
    want("text/x-a".equals(b.getContentType()) && b.getSize() == 5 && "v".equals(b.getMetadata().get("k")), b);
    want(new String(storage.readAllBytes(NAME, "s/a b.txt")).equals("hello"), "content");
    try (ReadChannel r = storage.reader(NAME, "s/a b.txt")) {
      r.seek(1);
      ByteBuffer p = ByteBuffer.allocate(3);
      while (p.hasRemaining() && r.read(p) >= 0) {
      }
      want(new String(p.array()).equals("ell"), new String(p.array()));
    }
    refused(412, () -> storage.create(i, "again".getBytes(), BlobTargetOption.doesNotExist()));
    want(storage.get(BlobId.of(NAME, "missing")) == null, "missing object");
    refused(404, () -> storage.readAllBytes(NAME, "missing"));
  }

  static void resumable() throws Exception {
    try (WriteChannel w = storage.writer(info("big"))) {
      w.setChunkSize(1 << 20);
      w.write(ByteBuffer.wrap(BIG));
    }
    want(Arrays.equals(storage.readAllBytes(NAME, "big"), BIG), "chunks");
    java.nio.file.Path f = java.nio.file.Files.createTempFile("cusp", "java");
    java.nio.file.Files.write(f, BIG);
    storage.createFrom(info("file"), f);
    storage.downloadTo(BlobId.of(NAME, "file"), f);
    want(Arrays.equals(java.nio.file.Files.readAllBytes(f), BIG), "file");
    java.nio.file.Files.delete(f);
  }

  static void list() {
    for (String n : List.of("l/1", "l/2", "l/d/3")) {
      storage.create(info(n), n.getBytes());
    }
    List<String> got = new ArrayList<>();
    for (Blob b : storage.list(NAME, BlobListOption.prefix("l/"), BlobListOption.currentDirectory(), BlobListOption.pageSize(1)).iterateAll()) {
      got.add(b.getName());
    }
    want(got.equals(List.of("l/1", "l/2", "l/d/")), got);
    got.clear();
    for (Blob b : storage.list(NAME, BlobListOption.matchGlob("l/**3")).iterateAll()) {
      got.add(b.getName());
    }
    want(got.equals(List.of("l/d/3")), got);
  }

  static void copyComposeMove() {
    CopyWriter w = storage.copy(Storage.CopyRequest.newBuilder().setSource(BlobId.of(NAME, "big")).setTarget(BlobId.of(NAME, "c/big"))
        .setMegabytesCopiedPerChunk(1L).build());
    want(w.getResult().getSize() == BIG.length && Arrays.equals(storage.readAllBytes(NAME, "c/big"), BIG), "copy");
    Blob c = storage.compose(Storage.ComposeRequest.of(NAME, List.of("l/1", "l/2"), "c/12"));
    want(c.getComponentCount() == 2 && new String(c.getContent()).equals("l/1l/2"), c);
    Blob m = storage.moveBlob(Storage.MoveBlobRequest.newBuilder().setSource(BlobId.of(NAME, "c/12")).setTarget(BlobId.of(NAME, "c/x")).build());
    want(m.getName().equals("c/x") && storage.get(NAME, "c/12") == null, m);
  }

  static void metadata() throws Exception {
    Blob b = storage.get(NAME, "l/1");
    Blob u = b.toBuilder().setCacheControl("no-store").setMetadata(Map.of("a", "1")).build().update();
    want("no-store".equals(u.getCacheControl()) && "1".equals(u.getMetadata().get("a")) && u.getMetageneration() == 2, u);
    refused(412, () -> b.toBuilder().setCacheControl("x").build().update(BlobTargetOption.metagenerationMatch()));
  }

  static void batch() {
    StorageBatch all = storage.batch();
    var one = all.get(NAME, "l/1");
    var two = all.delete(NAME, "l/2");
    var three = all.delete(NAME, "missing");
    var four = all.update(BlobInfo.newBuilder(NAME, "l/d/3").setMetadata(Map.of("in", "batch")).build());
    all.submit();
    want(one.get().getName().equals("l/1") && two.get() && !three.get() && four.get().getMetadata().containsKey("in"), "results");
  }

  static void iam() {
    Policy p = storage.getIamPolicy(NAME);
    storage.setIamPolicy(NAME, p.toBuilder().addIdentity(com.google.cloud.Role.of("roles/storage.objectViewer"), com.google.cloud.Identity.allUsers()).build());
    want(storage.getIamPolicy(NAME).getBindings().size() == 1, "bindings");
    want(storage.testIamPermissions(NAME, List.of("storage.buckets.get")).get(0), "permissions");
  }

  static void remove() {
    List<BlobId> ids = new ArrayList<>();
    for (Blob b : storage.list(NAME).iterateAll()) {
      ids.add(b.getBlobId());
    }
    want(!storage.delete(ids).contains(false), "delete");
    want(storage.delete(NAME) && storage.get(NAME) == null, "bucket");
  }

  public static void main(String[] args) {
    new Random().nextBytes(BIG);
    storage = StorageOptions.newBuilder().setHost(System.getenv("CUSP_ENDPOINT")).setProjectId("demo").setCredentials(NoCredentials.getInstance())
        .setRetrySettings(com.google.api.gax.retrying.RetrySettings.newBuilder().setMaxAttempts(1).build()).build().getService();
    new Cases()
        .add("bucket", Main::bucket)
        .add("write_read", Main::writeRead)
        .add("resumable", Main::resumable)
        .add("list", Main::list)
        .add("copy_compose_move", Main::copyComposeMove)
        .add("metadata", Main::metadata)
        .add("batch", Main::batch)
        .add("iam", Main::iam)
        .add("remove", Main::remove)
        .runAll("rest", storage.getOptions().getLibraryVersion());
  }
}
