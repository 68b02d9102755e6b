//! Identifiers that two processes compute alike from the same facts.

/// A short identifier of `parts`: `prefix-` and 16 hexadecimal digits of FNV-1a 64
/// (Fowler, Noll, Vo; <http://www.isthe.com/chongo/tech/comp/fnv/>), a zero byte after each part.
///
/// Not for secrets and not collision-proof against an adversary: it names predictions and requests,
/// whose facts are our own. The same parts give the same text for ever (pinned by a test).
pub fn stable_id(prefix: &str, parts: &[&str]) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{prefix}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_for_ever() {
        assert_eq!(stable_id("p", &[]), "p-cbf29ce484222325");
        assert_eq!(stable_id("p", &["a"]), "p-089be207b544f1e4");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(stable_id("p", &["ab", "c"]), stable_id("p", &["a", "bc"]));
    }
}
