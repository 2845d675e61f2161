//! The tools of a messages request, and what binds the form of the answer: a schema that the model holds to by itself, or a tool that
//! stands for it and must be called ([`Tooling`]).

use super::write_turns::named;
use crate::wire::json::{Json, Kind, Object, Raw};
use crate::wire::translate::claude::Facts;
use crate::wire::translate::form::{Format, Request, Tool, ToolChoice};
use crate::wire::translate::loss::Setting;

/// The name of the tool that stands for the form of the answer, where the form has none.
const ANSWER: &str = "json_answer";

/// What that tool is for, where the client does not say.
const ANSWER_PURPOSE: &str = "Gives the final answer to the user. The arguments are the answer itself, in the form asked for.";

/// What a schema may not ask for where the model is to hold to it by itself; the provider refuses such a one. All of them are numbers, so
/// that a property that happens to have such a name, which is an object, is none of them.
const UNHEARD_OF: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// The most strict tools in a request, properties in them that may be left out, and properties of several types.
const MOST_STRICT: usize = 20;
const MOST_OPTIONAL: usize = 24;
const MOST_UNIONS: usize = 16;

/// The tools that are offered, which of them must be called, and the form of the answer.
pub(super) struct Tooling<'r, 'a> {
    facts: Facts,
    tools: &'r [Tool<'a>],
    choice: Option<Choice<'r>>,
    /// Whether at most one tool may be called at once.
    single: bool,
    form: Form<'r, 'a>,
}

/// How the answer is bound to its form.
enum Form<'r, 'a> {
    /// Not at all.
    Free,
    /// The model holds to this schema by itself.
    Native(Raw<'a>),
    /// By a tool.
    Tool { name: String, description: &'r str, schema: Option<Raw<'a>> },
}

/// Which tool must be called, in Anthropic's words.
#[derive(Clone, Copy)]
enum Choice<'r> {
    Auto,
    Never,
    Any,
    Named(&'r str),
    Answer,
}

impl Choice<'_> {
    /// What of it a model takes: some can't be made to call anything. `answers`: a tool stands for the form of the answer.
    fn taken_by(self, facts: Facts, answers: bool, lose: &mut dyn FnMut(Setting)) -> Self {
        let lost = match self {
            _ if facts.forced => return self,
            Self::Auto | Self::Never => return self,
            Self::Any | Self::Answer if answers => Setting::Format,
            Self::Any | Self::Named(_) | Self::Answer => Setting::ToolChoice,
        };
        lose(lost);
        Self::Auto
    }
}

impl<'r, 'a> Tooling<'r, 'a> {
    pub(super) fn of(request: &'r Request<'a>, facts: Facts, lose: &mut dyn FnMut(Setting)) -> Self {
        let form = Form::of(request, facts, lose);
        let answers = matches!(form, Form::Tool { .. });
        let never = request.tool_choice == Some(ToolChoice::Never);
        // Where nothing but the answer may be called, nothing but the answer is offered.
        let tools = if answers && never { &[][..] } else { &request.tools[..] };
        let choice = match &request.tool_choice {
            _ if tools.is_empty() => answers.then_some(Choice::Answer),
            Some(ToolChoice::Named(name)) => Some(Choice::Named(name)),
            _ if answers => Some(Choice::Any),
            Some(ToolChoice::Auto) => Some(Choice::Auto),
            Some(ToolChoice::Never) => Some(Choice::Never),
            Some(ToolChoice::Any) => Some(Choice::Any),
            None => None,
        };
        let choice = choice.map(|choice| choice.taken_by(facts, answers, lose));
        // An answer is given once.
        let single = request.parallel_calls == Some(false) || matches!(choice, Some(Choice::Answer));
        Self { facts, tools, choice, single, form }
    }

    /// Whether something must be called.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.choice, Some(Choice::Any | Choice::Named(_) | Choice::Answer))
    }

    /// The schema that the model holds to by itself.
    pub(super) fn native_schema(&self) -> Option<Raw<'a>> {
        match self.form {
            Form::Native(schema) => Some(schema),
            _ => None,
        }
    }

    /// The tool that stands for the form of the answer.
    pub(super) fn answer_tool(self) -> Option<String> {
        match self.form {
            Form::Tool { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Writes the tools and which of them must be called.
    pub(super) fn write(&self, body: &mut Object<'_>, lose: &mut dyn FnMut(Setting)) {
        let answers = matches!(self.form, Form::Tool { .. });
        if self.tools.is_empty() && !answers {
            return;
        }
        let strict = self.facts.structured && are_few(self.tools);
        body.key("tools").array(|tools| {
            self.tools.iter().for_each(|tool| write_tool(tool, strict, lose, tools.item()));
            if let Form::Tool { name, description, schema } = &self.form {
                tools.item().object(|tool| {
                    tool.text("name", name);
                    tool.text("description", description);
                    match schema {
                        // No properties are named: to a model, none named would mean none wanted.
                        None => tool.key("input_schema").verbatim(r#"{"type":"object"}"#),
                        schema => write_schema(*schema, tool.key("input_schema")),
                    }
                });
            }
        });
        self.write_choice(body);
    }

    fn write_choice(&self, body: &mut Object<'_>) {
        let Some(choice) = self.choice.or(self.single.then_some(Choice::Auto)) else { return };
        let (kind, name) = match choice {
            Choice::Auto => ("auto", None),
            Choice::Never => ("none", None),
            Choice::Any => ("any", None),
            Choice::Named(name) => ("tool", Some(name)),
            Choice::Answer => ("tool", self.answer_name()),
        };
        body.key("tool_choice").object(|object| {
            object.text("type", kind);
            if let Some(name) = name {
                object.text("name", name);
            }
            if self.single && kind != "none" {
                object.key("disable_parallel_tool_use").bool(true);
            }
        });
    }

    fn answer_name(&self) -> Option<&str> {
        match &self.form {
            Form::Tool { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl<'r, 'a> Form<'r, 'a> {
    fn of(request: &'r Request<'a>, facts: Facts, lose: &mut dyn FnMut(Setting)) -> Self {
        let tool = |name: &str, description: Option<&'r str>, schema| Self::Tool {
            name: unique(name, &request.tools),
            description: description.unwrap_or(ANSWER_PURPOSE),
            schema,
        };
        match &request.format {
            None => Self::Free,
            Some(Format::JsonObject) => tool(ANSWER, None, None),
            Some(Format::JsonSchema { schema, .. }) if facts.structured && is_taken(*schema) => Self::Native(*schema),
            Some(Format::JsonSchema { name, description, schema, .. }) if is_of_object(*schema) => {
                tool(name, description.as_deref(), Some(*schema))
            }
            Some(Format::JsonSchema { .. }) => {
                lose(Setting::Format);
                Self::Free
            }
        }
    }
}

/// A name for the answer's tool that none of the others has.
fn unique(name: &str, tools: &[Tool<'_>]) -> String {
    let is_free = |name: &str| tools.iter().all(|tool| tool.name != name);
    let name = named(name);
    let names = std::iter::once(name.to_string()).chain((2..).map(|nth: u32| format!("{name}_{nth}")));
    names.into_iter().find(|name| is_free(name)).unwrap_or_default()
}

fn write_tool(tool: &Tool<'_>, strict: bool, lose: &mut dyn FnMut(Setting), place: Json<'_>) {
    place.object(|object| {
        object.text("name", &tool.name);
        if let Some(description) = &tool.description {
            object.text("description", description);
        }
        write_schema(tool.schema, object.key("input_schema"));
        match tool.strict {
            true if strict && tool.schema.is_some_and(is_taken) => object.key("strict").bool(true),
            true => lose(Setting::ToolStrict),
            false => {}
        }
        object.raw_if("cache_control", tool.cache);
    });
}

/// Whether the strict ones of the tools are as few, and as simple, as the provider takes in one request.
fn are_few(tools: &[Tool<'_>]) -> bool {
    let strict = || tools.iter().filter(|tool| tool.strict).filter_map(|tool| tool.schema);
    let (optional, unions) = strict().map(burden).fold((0, 0), |(optional, unions), (more, others)| (optional + more, unions + others));
    strict().count() <= MOST_STRICT && optional <= MOST_OPTIONAL && unions <= MOST_UNIONS
}

/// How many properties in a schema may be left out, and how many are of several types.
fn burden(schema: Raw<'_>) -> (usize, usize) {
    let (mut optional, mut unions) = (0, 0);
    let (mut named, mut required) = (0, 0);
    for (key, value) in schema.members() {
        match (&*key, value.kind()) {
            ("properties", Kind::Object) => named = value.members().count(),
            ("required", Kind::Array) => required = value.items().count(),
            ("anyOf" | "type", Kind::Array) => unions += 1,
            _ => {}
        }
        let (more, others) = burden(value);
        (optional, unions) = (optional + more, unions + others);
    }
    for (more, others) in schema.items().map(burden) {
        (optional, unions) = (optional + more, unions + others);
    }
    (optional + named.saturating_sub(required), unions)
}

/// A schema as it was sent; one that does not say what it is of is of an object, which Anthropic wants to be told.
fn write_schema(schema: Option<Raw<'_>>, place: Json<'_>) {
    let Some(schema) = schema else { return place.verbatim(r#"{"type":"object","properties":{}}"#) };
    let inside = schema.text().strip_prefix('{').filter(|_| schema.get("type").is_none());
    match inside {
        None => place.raw(schema),
        Some(_) if schema.members().next().is_none() => place.verbatim(r#"{"type":"object"}"#),
        Some(inside) => place.verbatim(&format!(r#"{{"type":"object",{inside}"#)),
    }
}

/// Whether a schema can be that of a tool's arguments.
fn is_of_object(schema: Raw<'_>) -> bool {
    let of_object = schema.get("type").is_none_or(|kind| kind.as_str().is_some_and(|kind| kind == "object"));
    of_object && ["anyOf", "oneOf", "allOf"].iter().all(|key| schema.get(key).is_none())
}

/// Whether the provider takes a schema as one to be held to. One that does not say its type is sent with a type, and is not closed.
fn is_taken(schema: Raw<'_>) -> bool {
    is_plain(schema) && schema.get("type").is_some()
}

/// Whether the provider would take a schema for the model to hold to by itself: every object is closed, and nothing is asked for that it
/// can't do.
fn is_plain(schema: Raw<'_>) -> bool {
    let (mut of_object, mut closed) = (false, false);
    for (key, value) in schema.members() {
        match &*key {
            "type" if value.kind() != Kind::Object => of_object |= value.text().contains(r#""object""#),
            "properties" if value.kind() == Kind::Object => of_object = true,
            "additionalProperties" => closed = value.as_bool() == Some(false),
            key if value.kind() == Kind::Number && UNHEARD_OF.contains(&key) => return false,
            "minItems" if value.as_u64().is_some_and(|least| least > 1) => return false,
            _ => {}
        }
        if !is_plain(value) {
            return false;
        }
    }
    (closed || !of_object) && schema.items().all(is_plain)
}
