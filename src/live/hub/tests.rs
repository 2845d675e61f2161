//! How events are put into frames; everything else is seen from outside, in `tests/live_test.rs`.

use super::*;
use crate::event::Event;

fn events(sizes: &[usize]) -> Vec<Arc<Numbered>> {
    let failed = |bytes: &usize| Event::LedgerFailed { at: UnixMs(0), why: "x".repeat(*bytes) };
    sizes.iter().map(failed).zip(1..).map(|(event, seq)| Arc::new(Numbered { seq, event })).collect()
}

#[test]
fn frames_are_as_full_as_may_be_and_hold_every_event_once() {
    for (sizes, counts) in [
        (vec![], vec![]),
        (vec![0], vec![1]),
        (vec![10; 64], vec![64]),
        (vec![30_000; 5], vec![2, 2, 1]),
        (vec![10, FRAME_BYTES, 10, 10], vec![1, 1, 2]),
        (vec![FRAME_BYTES, FRAME_BYTES], vec![1, 1]),
    ] {
        let (events, mut seq) = (events(&sizes), 0);
        let frames = frames(&events);
        assert_eq!(frames.iter().map(|frame| frame.events).collect::<Vec<_>>(), counts, "{sizes:?}");
        for frame in frames {
            assert!(frame.events == 1 || frame.text.len() <= FRAME_BYTES);
            for line in frame.text.split('\n') {
                seq += 1;
                assert_eq!(line, news::json(seq, &events[seq as usize - 1].event));
            }
        }
        assert_eq!(seq, events.len() as u64);
    }
}
