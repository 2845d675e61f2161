//! Cache marks of a messages request: the provider takes four.

use crate::wire::json::Raw;
use crate::wire::translate::Loss;
use crate::wire::translate::form::{Content, Request};

/// The most marks that the provider takes.
const MOST: usize = 4;

/// Where a mark stands, in the order in which a prompt is cached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tools,
    System,
    Turns,
}

/// Takes away marks that are too many. A mark caches all that stands before it, so that of each place the last is worth the most; then
/// those nearest to the end of the conversation.
pub(in super::super) fn thin_marks(request: &mut Request<'_>, loss: &mut Loss) {
    let mut marks = marks(request);
    if marks.len() <= MOST {
        return;
    }
    loss.add("cache_control");
    let last_of = |place| marks.iter().rposition(|(of, _)| *of == place);
    let mut kept: Vec<usize> = [Place::Turns, Place::System, Place::Tools].into_iter().filter_map(last_of).collect();
    for nth in (0..marks.len()).rev() {
        if kept.len() < MOST && !kept.contains(&nth) {
            kept.push(nth);
        }
    }
    for (nth, (_, mark)) in marks.iter_mut().enumerate() {
        if !kept.contains(&nth) {
            **mark = None;
        }
    }
}

/// All marks that would be written.
fn marks<'r, 'a>(request: &'r mut Request<'a>) -> Vec<(Place, &'r mut Option<Raw<'a>>)> {
    let tools = request.tools.iter_mut().map(|tool| (Place::Tools, &mut tool.cache));
    let system = request.system.iter_mut().map(|system| (Place::System, &mut system.cache));
    let parts = request.turns.iter_mut().flat_map(|turn| &mut turn.parts);
    let parts = parts.filter(|part| !matches!(part.content, Content::Thought(_)));
    let turns = parts.map(|part| (Place::Turns, &mut part.cache));
    tools.chain(system).chain(turns).filter(|(_, mark)| mark.is_some()).collect()
}
