// Client.java URL TOKEN COUNT BYTES KIND…: as clients/README says, with java.net.http's pool.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Client {
  static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  static String url;
  static String token;

  static String ask(String path, String body, String type, String encoding, boolean known) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(url + path)).timeout(Duration.ofSeconds(30));
    request.header("Content-Type", type).POST(BodyPublishers.ofString(body));
    if (!encoding.isEmpty()) request.header("Content-Encoding", encoding);
    if (known) request.header("X-Goog-IAP-JWT-Assertion", token);
    return String.valueOf(CLIENT.send(request.build(), BodyHandlers.ofString()).statusCode());
  }

  public static void main(String[] arguments) {
    url = arguments[0];
    token = arguments[1];
    String row = "x=[" + "0,1,".repeat(18) + "1]";
    String body = "z".repeat(Integer.parseInt(arguments[3]));
    for (int at = 4; at < arguments.length; at++) {
      String[] part = arguments[at].split("\\|", -1);
      int lost = 0;
      for (int index = 0; index < Integer.parseInt(arguments[2]); index++) {
        try {
          String got = ask(part[1], body, part[2], part[3], !part[4].isEmpty());
          if (!got.equals(part[0])) throw new IllegalStateException(got + " instead of " + part[0]);
          String good = ask("/", row, "application/x-www-form-urlencoded", "", true);
          if (!good.equals("200")) throw new IllegalStateException("good: " + good);
        } catch (Exception error) {
          lost++;
          System.err.println(error);
        }
      }
      System.out.println(part[0] + " " + part[1] + " " + lost);
    }
  }
}
