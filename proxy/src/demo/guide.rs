//! What the demo prints: where everything is, and a line to try for each capability.

use std::path::Path;

use serde_json::json;

use super::folder::Folder;
use crate::Running;

const TEACHER: &str = "teacher-7";
const MARKER: &str = "marker-1";

/// Prints the guide.
pub(super) fn print(running: &Running, folder: &Folder, broker: &str) {
    match text(running, folder, broker) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("sallyport: {error}"),
    }
}

fn text(running: &Running, folder: &Folder, broker: &str) -> Result<String, String> {
    let edge = url(running);
    let plain = running.address("plain").map_or(0, |address| address.port());
    let admin = running.admin().map_or_else(String::new, |address| format!("http://{address}"));
    let ca = folder.authority().display().to_string();
    let home = folder.path().display();
    let program =
        std::env::current_exe().map_or_else(|_| "sallyport".to_owned(), |path| path.display().to_string());
    let signer = folder.signer();
    let (teacher, marker) = (signer.token(TEACHER, "")?, signer.token(MARKER, "results.read")?);
    Ok(format!(
        r#"The edge is at {edge}, its configuration at {home}/routes.yaml. Stop with Ctrl-C.

Paste this first, in another terminal:

  alias c='curl --silent --show-error --cacert {ca}'
  TEACHER={teacher}
  MARKER={marker}

Then try:

  # a route, with a token
  c {edge}/v1/batches -H "Authorization: Bearer $TEACHER" --json '{{"title":"Essays on rivers"}}'
  c {edge}/v1/batches -H "Authorization: Bearer $TEACHER"

  # 401: no token.  403: a token that does not suffice
  c -i {edge}/v1/batches
  c -i {edge}/v1/results/1 -H "Authorization: Bearer $TEACHER"

  # 429, with RateLimit and Retry-After
  for i in 1 2 3 4; do c -i {edge}/v1/results/1 -H "Authorization: Bearer $MARKER"; done

  # a CORS preflight
  c -i -X OPTIONS {edge}/v1/batches -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: POST'

  # an upload of 100 MB, and back; 413 above 200 MiB
  head -c 100000000 /dev/zero | c {edge}/v1/files/essays.zip -H "Authorization: Bearer $TEACHER" -T -
  c {edge}/v1/files/essays.zip -H "Authorization: Bearer $TEACHER" -o /dev/null -w '%{{size_download}} bytes\n'
  head -c 300000000 /dev/zero | c -i {edge}/v1/files/large.zip -H "Authorization: Bearer $TEACHER" -T -

  # one answer of four services and a view; with the other token the branch `results` runs, too. Server-Timing has each branch
  c {edge}/v1/batches -H "Authorization: Bearer $MARKER" --json '{{"title":"Essays on hills"}}'
  c -i {edge}/v1/overview -H "Authorization: Bearer $TEACHER"
  c -i {edge}/v1/overview -H "Authorization: Bearer $MARKER"

  # the view of the events: one's own rows by status, newest first; a single row; a count of each status
  c -i '{edge}/v1/dashboard/batches?order=-updated_at&limit=5' -H "Authorization: Bearer $TEACHER"
  c {edge}/v1/dashboard/batches/1 -H "Authorization: Bearer $TEACHER"
  c '{edge}/v1/dashboard/batches?group=status&count=true&limit=0' -H "Authorization: Bearer $TEACHER"

  # live events: the page, as two users at once (the browser does not know the certificate's authority)
  {edge}/live
  # the same by server-sent events: register a batch in another terminal, and within seconds it is checked
  c -N '{edge}/live/events?channel=batch:*' -H "Authorization: Bearer $TEACHER"
  # Kafka is at {broker}; kcat shows the records, and writes others (`sudo apt install kcat`)
  kcat -b {broker} -C -t essay.batch.events -f '%k %h %s\n'
  # why somebody does not see an event
  {program} explain-event -c {home}/routes.yaml --token "$TEACHER" \
    --topic essay.batch.events --header ce_type=batch.registered --value '{{"batch_id":1,"owner":"alice"}}'

  # plain HTTP is redirected
  c -i http://localhost:{plain}/v1/batches

  # change the configuration while requests run: saving the file is enough, and so is
  c -X POST {admin}/reload
  c {admin}/readyz; c {admin}/upstreams; c {admin}/metrics | grep sallyport_requests_total
"#
    ))
}

/// Writes addresses and tokens for scripts.
pub(super) fn write_ready(
    file: &Path,
    running: &Running,
    folder: &Folder,
    broker: &str,
) -> Result<(), String> {
    let ready = json!({
        "listeners": running.addresses(),
        "admin": running.admin(),
        "folder": folder.path(),
        "ca": folder.authority(),
        "kafka": broker,
        "teacher": folder.signer().token(TEACHER, "")?,
        "marker": folder.signer().token(MARKER, "results.read")?,
    });
    crate::cli::write_whole(file, &ready.to_string())
}

fn url(running: &Running) -> String {
    format!("https://localhost:{}", running.address("public").map_or(0, |address| address.port()))
}
