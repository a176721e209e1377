// Passes WebSockets of a plain HTTP server on to the edge, byte by byte.

import net from 'node:net';

/** From now on upgrades at `server` go to the host and port of `target`. */
export function passUpgrades(server, target) {
  const { hostname, port } = new URL(target);
  server.on('upgrade', (request, near, first) => {
    const far = net.connect(Number(port), hostname);
    // The request's head is told again as it came; all that follows are bytes.
    let head = `${request.method} ${request.url} HTTP/1.1\r\n`;
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      head += `${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}\r\n`;
    }
    far.write(`${head}\r\n`);
    far.write(first);
    near.pipe(far);
    far.pipe(near);
    for (const [socket, other] of [[near, far], [far, near]]) {
      socket.on('error', () => other.destroy());
      socket.on('close', () => other.destroy());
    }
  });
}
