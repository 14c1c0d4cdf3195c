//! Reports in the format that build servers read: JUnit's XML.

use std::{borrow::Cow, io, time::Duration};

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use crate::{CaseReport, Counts, Outcome, Report};

impl Report {
    /// The report as JUnit's XML: one suite, a case's promise as its class, the seed as a property.
    pub fn junit(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write_junit(&mut writer).expect("memory takes what is written");
        String::from_utf8(writer.into_inner()).expect("text was written") + "\n"
    }

    fn write_junit(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let Counts { failed, skipped, .. } = self.counts();
        let (all, failed, skipped) = (self.cases.len().to_string(), failed.to_string(), skipped.to_string());
        let time = seconds(self.cases.iter().map(|case| case.elapsed).sum());
        let counts = [
            ("tests", all.as_str()),
            ("failures", failed.as_str()),
            ("errors", "0"),
            ("skipped", skipped.as_str()),
            ("time", time.as_str()),
        ];
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let suites = writer.create_element("testsuites").with_attribute(("name", "leasehold conformance"));
        suites.with_attributes(counts).write_inner_content(|writer| {
            let subject = printable(&self.subject);
            let suite = writer.create_element("testsuite").with_attribute(("name", &*subject));
            suite.with_attributes(counts).write_inner_content(|writer| {
                writer.create_element("properties").write_inner_content(|writer| {
                    let seed = self.seed.to_string();
                    let property = writer.create_element("property");
                    property.with_attributes([("name", "seed"), ("value", &*seed)]).write_empty().map(drop)
                })?;
                self.cases.iter().try_for_each(|case| write_case(case, writer))
            })?;
            Ok(())
        })?;
        Ok(())
    }
}

fn write_case(case: &CaseReport, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
    let (promise, time) = (case.promise.to_string(), seconds(case.elapsed));
    let attributes = [("classname", &*promise), ("name", case.name), ("time", &*time)];
    let element = writer.create_element("testcase").with_attributes(attributes);
    match &case.outcome {
        Outcome::Passed => element.write_empty()?,
        Outcome::Skipped(why) => element.write_inner_content(|writer| {
            let why = printable(why);
            writer.create_element("skipped").with_attribute(("message", &*why)).write_empty().map(drop)
        })?,
        Outcome::Failed(why) => element.write_inner_content(|writer| {
            let why = printable(why);
            let first = why.lines().next().unwrap_or_default();
            let failure = writer.create_element("failure").with_attribute(("message", first));
            failure.write_text_content(BytesText::new(&why)).map(drop)
        })?,
    };
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Text without the characters that XML cannot have, escaped or not.
fn printable(text: &str) -> Cow<'_, str> {
    let forbidden =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if !text.contains(forbidden) {
        return text.into();
    }
    let escape = |c: char| if forbidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Promise;

    #[test]
    fn a_report_is_what_build_servers_read() {
        let case = |name, outcome| CaseReport {
            name,
            promise: Promise::C3,
            outcome,
            elapsed: Duration::from_millis(1_250),
        };
        let report = Report {
            subject: "a \"store\" & more".to_owned(),
            capabilities: None,
            seed: 7,
            left: None,
            cases: vec![
                case("holds", Outcome::Passed),
                case("breaks", Outcome::Failed("got <1>\nnot \u{1b}[2J2".to_owned())),
                case("rests", Outcome::Skipped("the store does not claim it".to_owned())),
            ],
        };
        assert_eq!(
            report.junit(),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="leasehold conformance" tests="3" failures="1" errors="0" skipped="1" time="3.750">
  <testsuite name="a &quot;store&quot; &amp; more" tests="3" failures="1" errors="0" skipped="1" time="3.750">
    <properties>
      <property name="seed" value="7"/>
    </properties>
    <testcase classname="C3" name="holds" time="1.250"/>
    <testcase classname="C3" name="breaks" time="1.250">
      <failure message="got &lt;1&gt;">got &lt;1&gt;
not \u{1b}[2J2</failure>
    </testcase>
    <testcase classname="C3" name="rests" time="1.250">
      <skipped message="the store does not claim it"/>
    </testcase>
  </testsuite>
</testsuites>
"#
        );
    }
}
