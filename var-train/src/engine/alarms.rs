//! Which alarms of training steps are told: each kind once between two validations. The log has all of them.

use std::collections::BTreeSet;

/// The kinds of alarms that were told since the last validation.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeSet<String>);

impl Alarms {
    /// Whether `alarm` is of a kind that was not told yet. Its kind is its text before the first colon; numbers follow.
    pub(super) fn is_new(&mut self, alarm: &str) -> bool {
        let kind = alarm.split(':').next().unwrap_or_default();
        !kind.is_empty() && self.0.insert(kind.to_owned())
    }

    /// After a validation, alarms that go on are told again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Alarms;

    #[test]
    fn an_alarm_whose_numbers_change_is_told_once_between_validations() {
        let mut alarms = Alarms::default();
        assert!(!alarms.is_new(""));
        assert!(alarms.is_new("it learns nothing: its logits differ by 0.015"));
        assert!(!alarms.is_new("it learns nothing: its logits differ by 0.019"));
        assert!(!alarms.is_new(""));
        assert!(alarms.is_new("it wins: it is right on 99%"));
        assert!(!alarms.is_new("it learns nothing: its logits differ by 0.002"));
        alarms.forget();
        assert!(alarms.is_new("it learns nothing: its logits differ by 0.002"));
    }
}
