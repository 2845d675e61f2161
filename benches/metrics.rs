//! What figures cost: counting a call on its request's thread, and the whole text with as many groups as there can be.

use iron_runtime::UnixMs;
use iron_runtime::call::{End, Outcome, Stages};
use iron_runtime::event::Event;
use iron_runtime::live::metrics::{Metrics, Money};
use iron_runtime::money::{NanoUsd, Usage};
use iron_runtime::row::{Bill, RequestInfo, Row};
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

fn row(model: &str, status: u16) -> Arc<Row> {
    let micros = |micros| Some(Duration::from_micros(micros));
    let info = RequestInfo {
        serial: 1,
        at: UnixMs(1_790_000_000_000),
        agent: None,
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some(model.into()),
        stream: true,
        request_bytes: Some(100),
        translated: false,
    };
    let outcome = Outcome {
        status,
        end: End::Complete,
        reply_bytes: 1000,
        first_byte: micros(320_040),
        total: Duration::from_millis(2100),
        stages: Stages { sent: micros(20), head: micros(320_000), received: micros(2_099_000) },
    };
    let usage = Usage { input: 1200, cache_read: 900, output: 300, reasoning: 40, ..Usage::default() };
    Arc::new(Row::new(info, outcome, Bill { usage: Some(usage), cost: Some(NanoUsd(1_234_567)), ..Bill::nothing() }, None))
}

/// A call's two events, where a few models are known, as usual, and where as many are as can be.
#[divan::bench(args = [1, 8, 55])]
fn see_a_call(bencher: divan::Bencher<'_, '_>, models: usize) {
    let metrics = Metrics::default();
    for n in 0..models {
        metrics.see(&Event::closing(row(&format!("model-{n}"), 200)));
    }
    let row = row(&format!("model-{}", models / 2), 200);
    let (started, closed) = (Event::RequestStarted(row.info.clone()), Event::closing(row));
    bencher.bench(|| {
        metrics.see(divan::black_box(&started));
        metrics.see(divan::black_box(&closed));
    });
}

/// A call whose model has no place any more.
#[divan::bench]
fn see_an_unknown_model(bencher: divan::Bencher<'_, '_>) {
    let metrics = full();
    let closed = Event::closing(row("no-such-model", 200));
    bencher.bench(|| metrics.see(divan::black_box(&closed)));
}

/// As many series as there can be.
fn full() -> Metrics {
    let metrics = Metrics::default();
    for n in 0..1000 {
        metrics.see(&Event::closing(row(&format!("model-{n}"), 200 + n % 250)));
    }
    metrics
}

#[divan::bench]
fn text_of_all_there_can_be(bencher: divan::Bencher<'_, '_>) {
    let metrics = full();
    bencher.bench(|| metrics.to_text(&Money::default()));
}

#[divan::bench]
fn snapshot_of_all_there_can_be(bencher: divan::Bencher<'_, '_>) {
    let metrics = full();
    bencher.bench(|| metrics.snapshot());
}

#[divan::bench]
fn restore_of_all_there_can_be(bencher: divan::Bencher<'_, '_>) {
    let snapshot = full().snapshot();
    bencher.bench(|| Metrics::default().restore(&snapshot));
}
