//! What clients send: publications and calls, which become records of Kafka.

use std::sync::Arc;

use sallyport_condition::Vars;
use sallyport_kafka::SendError;
use serde::Serialize;

use super::{Resume, Session, Wait};
use crate::allowance::Used;
use crate::hub::family_of;
use crate::plan::PublishPlan;
use crate::protocol::command::{Publish, Rpc};
use crate::protocol::{Close, ErrorCode, reply};

impl Session {
    pub(super) fn publish(&mut self, id: u32, command: &Publish<'_>) -> Option<Wait> {
        let Some(data) = command.data.filter(|_| !command.channel.is_empty() && command.kind == 0) else {
            self.client.close(Close::BAD_REQUEST);
            return None;
        };
        let plan = self.shared.plan.clone();
        let result = match plan.publish.get(family_of(&command.channel)) {
            None if self.family(&command.channel).is_none() => Err(ErrorCode::UNKNOWN_CHANNEL),
            None => Err(ErrorCode::NOT_AVAILABLE),
            Some(_) if command.channel.contains('*') => Err(ErrorCode::BAD_REQUEST),
            Some(publish) => self.send(id, "publish", publish, &command.channel, data.get()),
        };
        self.waits_or_fails(id, "publish", result)
    }

    pub(super) fn rpc(&mut self, id: u32, command: &Rpc<'_>) -> Option<Wait> {
        let plan = self.shared.plan.clone();
        let data = command.data.map_or("null", |data| data.get());
        let result = match plan.rpc.get(&*command.method) {
            None if plan.rpc.is_empty() => Err(ErrorCode::NOT_AVAILABLE),
            None => Err(ErrorCode::METHOD_NOT_FOUND),
            Some(publish) => self.send(id, "rpc", publish, "", data),
        };
        self.waits_or_fails(id, "rpc", result)
    }

    fn waits_or_fails(&self, id: u32, command: &'static str, wait: Result<Wait, ErrorCode>) -> Option<Wait> {
        wait.map_err(|error| self.fail(id, command, error)).ok()
    }

    /// Sends data to Kafka if this client may.
    fn send(
        &mut self,
        id: u32,
        command: &'static str,
        publish: &Arc<PublishPlan>,
        channel: &str,
        data: &str,
    ) -> Result<Wait, ErrorCode> {
        if data.len() > publish.bytes {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        let now = self.shared.timers.now();
        if !self.may_send_now(publish, now) {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        let event = publish.read.read(data.as_bytes()).map_err(|_| ErrorCode::BAD_REQUEST)?;
        let vars = Vars::new()
            .bind("claims", self.who.claims())
            .bind("event", &event)
            .bind_text("channel", channel)
            .bind_text("id", crate::hub::id(channel));
        if !publish.allow.holds(&vars).unwrap_or(false) {
            return Err(ErrorCode::PERMISSION_DENIED);
        }
        let key = publish.key.render(|name| match name {
            "channel" => Some(channel),
            "id" => Some(crate::hub::id(channel)),
            "user" => Some(&self.user),
            _ => None,
        });
        let key = key.ok_or(ErrorCode::PERMISSION_DENIED)?;
        let producer = self.shared.producers.get(&publish.cluster).ok_or(ErrorCode::NOT_AVAILABLE)?.clone();
        let (publish, user, data) = (publish.clone(), self.user.clone(), data.to_owned());
        let name = format!("{}-{id}-{now}", self.client.name);
        Ok(Box::pin(async move {
            let headers: [(&str, &[u8]); 6] = [
                ("ce_specversion", b"1.0"),
                ("ce_type", publish.event_type.as_bytes()),
                ("ce_source", b"/sallyport/ws-bridge"),
                ("ce_id", name.as_bytes()),
                // An extension attribute of CloudEvents: who the bridge knows to have sent this.
                ("ce_user", user.as_bytes()),
                ("content-type", b"application/json"),
            ];
            let sent = producer.send(&publish.topic, Some(key.as_bytes()), Some(data.as_bytes()), &headers);
            Resume::Sent { id, command, sent: sent.await }
        }))
    }

    /// Counts a publication or call against the rate of its rule, for this connection.
    fn may_send_now(&mut self, publish: &Arc<PublishPlan>, now: u64) -> bool {
        let known = self.sent.iter().position(|(known, _)| Arc::ptr_eq(known, publish));
        let index = known.unwrap_or_else(|| {
            self.sent.push((publish.clone(), Used::default()));
            self.sent.len() - 1
        });
        publish.allowance.take(&mut self.sent[index].1, now)
    }

    pub(super) fn sent(
        &mut self,
        id: u32,
        command: &'static str,
        sent: Result<(i32, i64), SendError>,
    ) -> Option<Wait> {
        #[derive(Serialize)]
        struct Receipt {
            partition: i32,
            offset: i64,
        }
        match sent {
            Ok((partition, offset)) if command == "rpc" => {
                self.reply(id, command, &reply::RpcAnswer { data: Receipt { partition, offset } });
            }
            Ok(_) => self.reply(id, command, &reply::Nothing {}),
            Err(SendError::Full) => self.fail(id, command, ErrorCode::TOO_MANY_REQUESTS),
            Err(error) => {
                log::warn!("a client's {command} was not taken by Kafka: {error}");
                self.fail(id, command, ErrorCode::INTERNAL);
            }
        }
        None
    }
}
