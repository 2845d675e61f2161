//! Uploaded files: `/v1/files` of OpenAI's protocol, kept in memory.
//!
//! It parses just enough of `multipart/form-data` (RFC 7578) to find the file's bytes, its name and the purpose. Bounded in number and bytes;
//! the server's limit bounds one upload.

use super::answer::{Answer, Problem};
use memchr::memmem;
use serde_json::{Value, json};

/// The most files kept.
const MAX_FILES: usize = 256;

/// The most bytes kept.
const MAX_BYTES: usize = 256 << 20;

/// The most parts of one form.
const MAX_PARTS: usize = 32;

/// A kept file.
struct File {
    id: String,
    name: String,
    purpose: String,
    created: u64,
    bytes: Vec<u8>,
}

impl File {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "file", "bytes": self.bytes.len(), "created_at": self.created, "filename": self.name,
            "purpose": self.purpose, "status": "processed", "expires_at": null, "status_details": null,
        })
    }
}

/// The files kept.
#[derive(Default)]
pub(super) struct Files(Vec<File>);

impl Files {
    /// `POST /v1/files`.
    pub(super) fn upload(&mut self, id: String, created: u64, content_type: &str, body: &[u8]) -> Result<Answer, Problem> {
        let form = boundary(content_type).and_then(|boundary| Form::parse(&boundary, body));
        let form = form.ok_or_else(|| Problem::new(400, "Could not parse multipart form"))?;
        let bytes = form.file.ok_or_else(|| Problem::field("file", "'file' is a required property"))?;
        let purpose = form.purpose.ok_or_else(|| Problem::field("purpose", "'purpose' is a required property"))?;
        let kept: usize = self.0.iter().map(|file| file.bytes.len()).sum();
        if self.0.len() >= MAX_FILES || kept + bytes.len() > MAX_BYTES {
            return Err(Problem::new(400, "The mock keeps no more than 256 files and 256 MiB; delete some."));
        }
        let file = File { id, name: form.name, purpose, created, bytes: bytes.to_vec() };
        let answer = Answer::json(&file.json());
        self.0.push(file);
        Ok(answer)
    }

    /// `GET /v1/files`.
    pub(super) fn list(&self) -> Answer {
        let data: Vec<Value> = self.0.iter().map(File::json).collect();
        let id = |file: Option<&File>| file.map(|file| file.id.clone());
        let (first, last) = (id(self.0.first()), id(self.0.last()));
        Answer::json(&json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": false}))
    }

    /// `GET /v1/files/{id}`.
    pub(super) fn describe(&self, id: &str) -> Result<Answer, Problem> {
        self.find(id).map(|at| Answer::json(&self.0[at].json()))
    }

    /// `GET /v1/files/{id}/content`.
    pub(super) fn content(&self, id: &str) -> Result<Answer, Problem> {
        self.find(id).map(|at| Answer::bytes("application/octet-stream", self.0[at].bytes.clone()))
    }

    /// `DELETE /v1/files/{id}`.
    pub(super) fn delete(&mut self, id: &str) -> Result<Answer, Problem> {
        let at = self.find(id)?;
        self.0.remove(at);
        Ok(Answer::json(&json!({"id": id, "object": "file", "deleted": true})))
    }

    fn find(&self, id: &str) -> Result<usize, Problem> {
        let found = self.0.iter().position(|file| file.id == id);
        found.ok_or_else(|| Problem { param: Some("id"), ..Problem::new(404, format!("No such File object: {id}")) })
    }
}

/// The boundary that a `multipart/form-data` content type names.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, _) = content_type.split_once(';')?;
    let multipart = kind.trim().eq_ignore_ascii_case("multipart/form-data");
    parameter(content_type, "boundary").filter(|boundary| multipart && !boundary.is_empty())
}

/// A parameter of a header value, quoted or not.
fn parameter(value: &str, name: &str) -> Option<String> {
    let parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut values = parameters.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.next().map(|value| value.trim_matches('"').to_owned())
}

/// The fields of an upload.
struct Form<'a> {
    file: Option<&'a [u8]>,
    name: String,
    purpose: Option<String>,
}

impl<'a> Form<'a> {
    fn parse(boundary: &str, body: &'a [u8]) -> Option<Self> {
        let delimiter = format!("\r\n--{boundary}");
        let mut form = Self { file: None, name: "file".to_owned(), purpose: None };
        // The first delimiter has no line end before it, unless something stands in front of the form.
        let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
            Some(rest) => rest,
            None => &body[memmem::find(body, delimiter.as_bytes())? + delimiter.len()..],
        };
        for _ in 0..MAX_PARTS {
            if rest.starts_with(b"--") {
                return Some(form);
            }
            let part = rest.strip_prefix(b"\r\n")?;
            let end = memmem::find(part, delimiter.as_bytes())?;
            form.take(&part[..end])?;
            rest = &part[end + delimiter.len()..];
        }
        None
    }

    fn take(&mut self, part: &'a [u8]) -> Option<()> {
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let (head, content) = (std::str::from_utf8(&part[..head_end]).ok()?, &part[head_end + 4..]);
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        match parameter(disposition, "name")?.as_str() {
            "file" => {
                self.file = Some(content);
                self.name = parameter(disposition, "filename").unwrap_or_else(|| "file".to_owned());
            }
            "purpose" => self.purpose = Some(String::from_utf8_lossy(content).into_owned()),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"b-1\"";
    const FORM: &[u8] =
        b"--b-1\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b-1\r\nContent-Disposition: form-data; \
        name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--b-\r\n\r\n--b-1--\r\n";

    fn body(answer: Answer) -> Vec<u8> {
        match answer {
            Answer::Whole { body, .. } => body,
            Answer::Stream { .. } => Vec::new(),
        }
    }

    #[test]
    fn a_file_comes_back_byte_for_byte() {
        let mut files = Files::default();
        let made = body(files.upload("file-1".into(), 5, TYPE, FORM).expect("a form"));
        let made: Value = serde_json::from_slice(&made).expect("JSON");
        assert_eq!((&made["filename"], &made["purpose"], &made["bytes"]), (&json!("a.bin"), &json!("batch"), &json!(10)));
        assert_eq!(body(files.content("file-1").expect("the file")), b"\x00\xff\r\n--b-\r\n");
        assert!(files.delete("file-1").is_ok() && files.describe("file-1").is_err());
    }

    #[test]
    fn a_form_cut_anywhere_is_refused() {
        for end in 0..FORM.len() - 4 {
            assert!(Files::default().upload(String::new(), 0, TYPE, &FORM[..end]).is_err(), "{end}");
        }
        assert!(Files::default().upload(String::new(), 0, TYPE, FORM).is_ok());
    }

    #[test]
    fn a_form_needs_its_fields_and_boundary() {
        let no_purpose = b"--b-1\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b-1--\r\n";
        for (kind, form) in [(TYPE, &no_purpose[..]), ("application/json", FORM), ("multipart/form-data", FORM), (TYPE, b"--b-1--")] {
            assert!(Files::default().upload(String::new(), 0, kind, form).is_err(), "{kind}");
        }
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let mut files = Files::default();
        let kept = (0..MAX_FILES + 5).filter(|nth| files.upload(nth.to_string(), 0, TYPE, FORM).is_ok()).count();
        assert_eq!(kept, MAX_FILES);
    }
}
