//! A translated reply that is one value: read to its end, metered, settled, written anew, sent. Nothing of it reaches the client before all
//! of it has come, so that whatever goes wrong is still an honest error.

use super::{Context, Kind, Next, Relayed, fields, next};
use crate::call::{End, Reason, Refusal};
use crate::http::Responder;
use crate::money::Reported;
use crate::proxy::exchange::Translation;
use crate::proxy::open::Open;
use crate::proxy::upstream::UpstreamReply;
use crate::proxy::watch::TICK;
use crate::wire::usage::Meter;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;

/// Why there is no whole reply.
enum Fault {
    ClientGone,
    Failed(Refusal),
}

/// Relays a reply to its end.
pub(super) fn relay<'a>(
    mut reply: UpstreamReply,
    mut responder: Responder<'a>,
    context: &Context<'_>,
    translation: &Translation,
    open: &mut Open<'_>,
) -> Relayed<'a> {
    let kind = Kind::of(&reply);
    let mut meter = context.endpoint.filter(|_| kind == Kind::Value).map(|endpoint| Meter::new(endpoint, false));
    let collected = collect(&mut reply, context, open, meter.as_mut());
    let reported = meter.as_ref().map_or_else(Reported::default, Meter::reported);
    let translated = collected.and_then(|body| {
        if !reply.is_success() {
            // Of one that is compressed the status is left.
            return Ok(translation.plan.error(reply.status, if kind == Kind::Opaque { b"" } else { &body.bytes }));
        }
        if kind == Kind::Opaque {
            return Err(garbage("it is compressed, although it was asked for as it is"));
        }
        let whole = translation.plan.reply(&body.bytes).map_err(|garbled| garbage(&garbled.0))?;
        open.keep_thoughts(whole.kept);
        Ok(whole.body)
    });
    let own_id = open.id_to_add();
    match translated {
        Ok(body) => {
            open.progress.passed = body.len() as u64;
            open.settle(End::Complete, &reported);
            let own_id = own_id.as_deref();
            open.note_head(reply.status, true, translated_fields(&reply, context, own_id));
            open.note_body(&body);
            if let Err(fault) = responder.send(reply.status, translated_fields(&reply, context, own_id), &body) {
                log::debug!("client gone: {fault} request_id={}", open.id());
            }
            Relayed::Done
        }
        Err(Fault::ClientGone) => {
            responder.close_after();
            open.settle(End::ClientGone, &reported);
            Relayed::Done
        }
        Err(Fault::Failed(refused)) => {
            open.settle_unpassed(&refused, &reported);
            Relayed::Unstarted(responder, refused)
        }
    }
}

/// A reply's body in memory, counted among all bodies while it lives.
struct Collected<'c> {
    bytes: Vec<u8>,
    all: &'c AtomicU64,
}

impl Collected<'_> {
    /// Takes more, as far as there is room for it in this reply and in all together.
    fn take(&mut self, bytes: &[u8], context: &Context<'_>) -> Result<(), Refusal> {
        if (self.bytes.len() + bytes.len()) as u64 > context.max_whole_bytes {
            let most = context.max_whole_bytes;
            let message = format!("the upstream's reply is longer than {most} bytes, too long to be translated (--max-body-bytes)");
            return Err(Refusal::new(Reason::Upstream("upstream_garbage"), message));
        }
        self.bytes.extend_from_slice(bytes);
        let before = self.all.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before + bytes.len() as u64 > context.max_buffered_bytes {
            let message = format!("bodies under way hold {before} of {} bytes; try again in a moment", context.max_buffered_bytes);
            return Err(Refusal::new(Reason::Overloaded("router_busy"), message));
        }
        Ok(())
    }
}

impl Drop for Collected<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// Reads the body to its end.
fn collect<'c>(
    reply: &mut UpstreamReply,
    context: &Context<'c>,
    open: &mut Open<'_>,
    mut meter: Option<&mut Meter>,
) -> Result<Collected<'c>, Fault> {
    let mut body = Collected { bytes: Vec::new(), all: context.buffered };
    let (mut buffer, mut silent_ticks) = (vec![0; BUFFER], 0u32);
    loop {
        match next(&mut reply.body, &mut buffer) {
            Next::Bytes(count) => {
                silent_ticks = 0;
                open.progress.received += count as u64;
                let bytes = &buffer[..count];
                meter.iter_mut().for_each(|meter| meter.feed(bytes));
                body.take(bytes, context).map_err(Fault::Failed)?;
            }
            Next::End => return Ok(body),
            Next::Broken => {
                let message = "the upstream's connection broke off in mid-reply";
                return Err(Fault::Failed(Refusal::new(Reason::Upstream("upstream_reset"), message)));
            }
            Next::Tick => {
                silent_ticks += 1;
                if context.client.gone() {
                    return Err(Fault::ClientGone);
                }
                if TICK * silent_ticks >= context.timeouts.idle {
                    let silence = context.timeouts.idle.as_secs_f64();
                    let message = format!("the upstream was silent for {silence} s in mid-reply (--idle-timeout)");
                    return Err(Fault::Failed(Refusal::new(Reason::UpstreamTimeout, message)));
                }
            }
        }
    }
}

/// The fields of the reply; its body is JSON of ours.
fn translated_fields<'f>(
    reply: &'f UpstreamReply,
    context: &'f Context<'_>,
    own_id: Option<&'f str>,
) -> impl Iterator<Item = (&'f str, &'f [u8])> {
    let fields = fields(reply, context, own_id).filter(|(name, _)| !matches!(*name, "content-type" | "content-encoding"));
    let json: (&str, &[u8]) = ("content-type", b"application/json");
    fields.chain([json])
}

/// A reply that is none.
fn garbage(why: &str) -> Fault {
    Fault::Failed(Refusal::new(Reason::Upstream("upstream_garbage"), format!("the upstream's reply can't be translated: {why}")))
}
