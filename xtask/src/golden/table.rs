//! The table of checks: merging what the programs print, and showing it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

/// One comparison of a quantity of a case with what the case records.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The folder of the case as it was given, or the name of a program that failed as a whole.
    case: String,
    /// What was compared, such as `f_hat` or `logits`.
    quantity: String,
    /// Largest difference seen, in the unit of the tolerance; `None` when none could be taken.
    difference: Option<f64>,
    /// What is allowed; `None` where there is no difference either.
    tolerance: Option<f64>,
    /// The verdict of the program.
    pass: bool,
    /// Why no difference could be taken, or what else is worth saying.
    note: Option<String>,
}

impl Check {
    /// Reads `{"case": …, "quantity": …, "difference": …, "tolerance": …, "pass": …, "note": …}`. A
    /// check that passes without a difference proves nothing and is turned into a failure.
    ///
    /// # Errors
    /// Says which key is missing or of the wrong type.
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|_| "not a JSON object".to_owned())?;
        let text = |key: &str| value[key].as_str().map(str::to_owned).ok_or(format!("no text in \"{key}\""));
        let number = |key: &str| match &value[key] {
            Value::Null => Ok(None),
            other => other.as_f64().map(Some).ok_or(format!("no number in \"{key}\"")),
        };
        let mut check = Self {
            case: text("case")?,
            quantity: text("quantity")?,
            difference: number("difference")?,
            tolerance: number("tolerance")?,
            pass: value["pass"].as_bool().ok_or("no true or false in \"pass\"")?,
            note: value["note"].as_str().map(str::to_owned),
        };
        if check.pass && check.difference.is_none() {
            check.pass = false;
            check.note.get_or_insert_with(|| "passed without a difference".to_owned());
        }
        Ok(check)
    }

    /// A failure without numbers: `case` is a case or a program.
    pub fn failure(case: &str, note: String) -> Self {
        let case = case.to_owned();
        Self {
            case,
            quantity: "-".to_owned(),
            difference: None,
            tolerance: None,
            pass: false,
            note: Some(note),
        }
    }

    /// True when this check says more against its quantity than `other`: a failure before a pass, a
    /// missing difference before any, then the larger share of the tolerance.
    fn worse_than(&self, other: &Self) -> bool {
        let rank = |check: &Self| match (check.difference, check.tolerance) {
            (None, _) => f64::INFINITY,
            (Some(difference), Some(tolerance)) if tolerance > 0.0 => difference / tolerance,
            (Some(difference), _) => difference,
        };
        if self.pass == other.pass { rank(self) > rank(other) } else { other.pass }
    }
}

/// All checks, one row a quantity of a case.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<(String, String), Check>,
    /// Failures that belong to no quantity.
    failures: Vec<Check>,
}

impl Table {
    /// Adds a check; of several for the same quantity of the same case the worst stays.
    pub fn add(&mut self, check: Check) {
        if check.quantity == "-" {
            self.failures.push(check);
            return;
        }
        let key = (check.case.clone(), check.quantity.clone());
        let keep = self.rows.get(&key).is_some_and(|old| !check.worse_than(old));
        if !keep {
            self.rows.insert(key, check);
        }
    }

    /// Adds a failure for each of `cases` that got no check.
    pub fn close(&mut self, cases: &[String]) {
        for case in cases {
            if !self.rows.keys().any(|(checked, _)| checked == case) {
                self.failures.push(Check::failure(case, "nothing to check".to_owned()));
            }
        }
    }

    /// True when there is at least one check and none failed.
    pub fn passed(&self) -> bool {
        let (passed, failed) = self.count();
        passed > 0 && failed == 0
    }

    fn all(&self) -> impl Iterator<Item = &Check> {
        self.rows.values().chain(&self.failures)
    }

    fn count(&self) -> (usize, usize) {
        let passed = self.all().filter(|check| check.pass).count();
        (passed, self.all().count() - passed)
    }

    /// The table as text, cases named relative to `dir`; the last line is `N passed, M failed`.
    pub fn render(&self, dir: &Path) -> String {
        let header = ["case", "quantity", "largest difference", "tolerance", ""].map(str::to_owned);
        let mut lines = vec![header];
        for check in self.all() {
            lines.push([
                relative(&check.case, dir),
                check.quantity.clone(),
                number(check.difference),
                number(check.tolerance),
                verdict(check),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        let mut text = String::new();
        for [case, quantity, difference, tolerance, verdict] in &lines {
            let line = format!(
                "{case:<a$}  {quantity:<b$}  {difference:>c$}  {tolerance:>d$}  {verdict}",
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3]
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let (passed, failed) = self.count();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{passed} passed, {failed} failed");
        text
    }
}

fn verdict(check: &Check) -> String {
    let word = if check.pass { "pass" } else { "FAIL" };
    match &check.note {
        Some(note) => format!("{word}  {note}"),
        None => word.to_owned(),
    }
}

/// The case below `dir`; the name of `dir` when it is the case itself.
fn relative(case: &str, dir: &Path) -> String {
    match Path::new(case).strip_prefix(dir) {
        Ok(below) if below.as_os_str().is_empty() => case.to_owned(),
        Ok(below) => below.to_string_lossy().into_owned(),
        Err(_) => case.to_owned(),
    }
}

/// `0`, `1.2e-6`, or `-` when there is none.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(case: &str, quantity: &str, difference: f64, pass: bool) -> Check {
        let line = serde_json::json!({
            "case": case, "quantity": quantity, "difference": difference, "tolerance": 1e-4, "pass": pass,
        });
        Check::parse(&line.to_string()).unwrap()
    }

    fn table(checks: impl IntoIterator<Item = Check>, cases: &[&str]) -> Table {
        let mut table = Table::default();
        checks.into_iter().for_each(|check| table.add(check));
        table.close(&cases.iter().map(|case| case.to_string()).collect::<Vec<_>>());
        table
    }

    #[test]
    fn the_last_line_counts_and_nothing_else() {
        let checks = [check("/g/a", "f_hat", 1.2e-6, true), check("/g/b", "f_hat", 0.5, false)];
        let text = table(checks, &["/g/a", "/g/b"]).render(Path::new("/g"));
        let expected = "\
case  quantity  largest difference  tolerance\n\
a     f_hat                 1.2e-6     1.0e-4  pass\n\
b     f_hat                 5.0e-1     1.0e-4  FAIL\n\
1 passed, 1 failed\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_worst_check_of_a_quantity_stays_whatever_the_order() {
        let (small, large) = (check("a", "x", 1e-6, true), check("a", "x", 2e-6, true));
        let failed = check("a", "x", 1e-7, false);
        for order in [[&small, &large, &failed], [&failed, &large, &small], [&large, &failed, &small]] {
            let table = table(order.into_iter().cloned(), &["a"]);
            assert_eq!(table.count(), (0, 1));
            assert_eq!(table.rows.values().next(), Some(&failed));
        }
        let table = table([large.clone(), small], &["a"]);
        assert_eq!(table.rows.values().next(), Some(&large));
    }

    #[test]
    fn a_case_without_a_check_fails() {
        let table = table([check("a", "x", 0.0, true)], &["a", "b"]);
        assert!(!table.passed());
        assert!(table.render(Path::new("")).contains("nothing to check"));
        assert_eq!(table.count(), (1, 1));
    }

    #[test]
    fn a_crashed_program_fails_even_when_all_cases_were_checked() {
        let crash = Check::failure("var-model", "ended with signal 11".to_owned());
        let table = table([check("a", "x", 0.0, true), crash.clone(), crash], &["a"]);
        assert!(!table.passed());
        assert_eq!(table.count(), (1, 2));
    }

    #[test]
    fn a_pass_without_a_difference_is_a_failure() {
        let line = r#"{"case":"a","quantity":"x","difference":null,"tolerance":1e-4,"pass":true}"#;
        assert!(!Check::parse(line).unwrap().pass);
    }

    #[test]
    fn a_note_is_shown() {
        let line =
            r#"{"case":"a","quantity":"x","difference":null,"tolerance":1e-4,"pass":false,"note":"no file"}"#;
        let table = table([Check::parse(line).unwrap()], &["a"]);
        assert!(table.render(Path::new("")).contains("FAIL  no file"));
    }

    #[test]
    fn lines_that_are_no_checks_are_refused() {
        for line in ["hello", "3", r#"{"case":"a","quantity":"x","difference":"small","pass":true}"#] {
            assert!(Check::parse(line).is_err(), "{line}");
        }
        let why = Check::parse(r#"{"case":"a","quantity":"x","difference":0.1}"#).unwrap_err();
        assert!(why.contains("pass"), "{why}");
    }

    #[test]
    fn no_checks_at_all_do_not_pass() {
        assert!(!table([], &[]).passed());
    }
}
