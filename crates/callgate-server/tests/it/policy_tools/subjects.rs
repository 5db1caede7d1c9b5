//! Sets of subjects, compared with what a real nats-server permits.

use callgate::{
    subject::{Subject, SubjectPattern},
    subject_set::SubjectSet,
};
use callgate_testkit::NatsServer;

use crate::support::wire::{Login, Wire};

const PAIRS: usize = 40;

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pattern(&mut self) -> String {
        let mut tokens: Vec<_> =
            (0..=self.below(3)).map(|_| ["a", "b", "*"][self.below(3)]).collect();
        if self.below(3) == 0 {
            tokens.push(">");
        }
        tokens.join(".")
    }

    /// At least one pattern to allow: nats-server permits everything without one.
    fn permissions(&mut self) -> [Vec<String>; 2] {
        let allow = (0..=self.below(3)).map(|_| self.pattern()).collect();
        let deny = (0..self.below(3)).map(|_| self.pattern()).collect();
        [allow, deny]
    }
}

fn set([allow, deny]: &[Vec<String>; 2]) -> SubjectSet {
    let patterns = |list: &[String]| -> Vec<SubjectPattern> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    };
    SubjectSet::allowing(&patterns(allow), &patterns(deny))
}

/// Every subject of one to four tokens over the letters of the patterns and one more.
fn all_subjects() -> Vec<String> {
    let mut all: Vec<String> = vec!["a".into(), "b".into(), "c".into()];
    for index in 0.. {
        let subject: String = all[index].clone();
        if subject.len() >= 7 {
            break;
        }
        all.extend(["a", "b", "c"].map(|letter| format!("{subject}.{letter}")));
    }
    all
}

async fn permitted(wire: &mut Wire, subject: &str) -> bool {
    wire.may_publish(subject).await
}

#[tokio::test]
async fn containment_agrees_with_a_real_nats_server() {
    let mut numbers = Numbers(7);
    let pairs: Vec<_> =
        (0..PAIRS).map(|_| [numbers.permissions(), numbers.permissions()]).collect();
    let user = |name: String, [allow, deny]: &[Vec<String>; 2]| {
        format!(
            "{{ user: {name}, password: x, permissions: {{ publish: {{ allow: {allow:?}, deny: {deny:?} }} }} }}\n"
        )
    };
    let users: String = pairs
        .iter()
        .enumerate()
        .map(|(index, [left, right])| {
            user(format!("l{index}"), left) + &user(format!("r{index}"), right)
        })
        .collect();
    let server = NatsServer::start(&format!("authorization {{ users: [ {users} ] }}")).await;
    let all = all_subjects();
    let (mut within, mut outside) = (0, 0);
    for (index, [left, right]) in pairs.iter().enumerate() {
        let connect =
            async |name: String| Wire::connect(&server, &Login::User(&name, "x")).await.unwrap();
        let (mut on_left, mut on_right) =
            (connect(format!("l{index}")).await, connect(format!("r{index}")).await);
        let (one, other) = (set(left), set(right));
        match one.find_outside(&other).unwrap() {
            Some(subject) => {
                outside += 1;
                let subject = subject.as_str();
                assert!(permitted(&mut on_left, subject).await, "{left:?} {subject}");
                assert!(!permitted(&mut on_right, subject).await, "{right:?} {subject}");
            }
            None => {
                within += 1;
                for subject in &all {
                    let is_contained = !permitted(&mut on_left, subject).await
                        || permitted(&mut on_right, subject).await;
                    assert!(is_contained, "{left:?} {right:?} {subject}");
                }
            }
        }
        for subject in all.iter().skip(index % 7).step_by(7) {
            let parsed: Subject = subject.parse().unwrap();
            assert_eq!(
                one.contains(&parsed),
                permitted(&mut on_left, subject).await,
                "{left:?} {subject}"
            );
        }
    }
    assert!(within >= 3 && outside >= 3, "{within} within, {outside} not");
}
