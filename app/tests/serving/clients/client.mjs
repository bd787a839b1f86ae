// client.mjs URL TOKEN COUNT BYTES KIND…: as clients/README says, with Node's http.Agent of one socket.
import http from "node:http";

const [url, token, count, size, ...kinds] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const row = "x=[" + "0,1,".repeat(18) + "1]";
const identity = { "X-Goog-IAP-JWT-Assertion": token };

function ask(path, body, headers) {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", agent, headers: { ...headers, "Content-Length": body.length }, timeout: 30000 };
    const request = http.request(url + path, options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.end(body);
  });
}

for (const kind of kinds) {
  const [status, path, type, encoding, known] = kind.split("|");
  const headers = { "Content-Type": type, ...(encoding && { "Content-Encoding": encoding }), ...(known && identity) };
  const body = Buffer.alloc(Number(size), "z");
  let lost = 0;
  for (let index = 0; index < Number(count); index += 1) {
    try {
      const got = await ask(path, body, headers);
      if (String(got) !== status) throw new Error(`${got} instead of ${status}`);
      const good = await ask("/", row, { "Content-Type": "application/x-www-form-urlencoded", ...identity });
      if (good !== 200) throw new Error(`good: ${good}`);
    } catch (error) {
      lost += 1;
      console.error(String(error));
    }
  }
  console.log(status, path, lost);
}
agent.destroy();
