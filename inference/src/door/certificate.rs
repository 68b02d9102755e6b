//! The names in a client's certificate, which rustls has verified by now.

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The common name of an X.509 subject, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// UTF8String, PrintableString, IA5String: the text that is text as it stands.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The common name first, then DNS names, then URIs (such as `spiffe://…`); none twice.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let mut names: Vec<String> = common_name(parsed.subject()).map(str::to_owned).into_iter().collect();
    for name in alternative_names(certificate) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// DNS names, then URIs.
pub(super) fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_dns_names().chain(parsed.valid_uri_names()).map(str::to_owned).collect()
}

/// A subject is a sequence of sets of pairs of an object identifier and a text.
fn common_name(subject: &[u8]) -> Option<&str> {
    let mut sets = subject;
    while let Some((tag, set, rest)) = element(sets) {
        sets = rest;
        let mut pairs = if tag == SET { set } else { continue };
        while let Some((SEQUENCE, pair, rest)) = element(pairs) {
            pairs = rest;
            if let Some((OBJECT, COMMON_NAME, value)) = element(pair)
                && let Some((tag, text, _)) = element(value)
                && TEXTS.contains(&tag)
            {
                return std::str::from_utf8(text).ok();
            }
        }
    }
    None
}

/// Tag and content of the first DER element, and what comes after; names need no length beyond two bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_among_the_others_and_damage_finds_none() {
        let pair = |id: u8, text: &str| {
            let value = [&[0x0c, text.len() as u8], text.as_bytes()].concat();
            let pair = [&[OBJECT, 3, 0x55, 0x04, id][..], &value].concat();
            let pair = [&[SEQUENCE, pair.len() as u8][..], &pair].concat();
            [&[SET, pair.len() as u8][..], &pair].concat()
        };
        let subject = [pair(10, "Some Company"), pair(3, "prometheus")].concat();
        assert_eq!(common_name(&subject), Some("prometheus"));
        assert_eq!(common_name(&pair(10, "Some Company")), None);
        for end in 0..subject.len() {
            let _ = common_name(&subject[..end]);
        }
        assert_eq!(element(&[SET, 0x84, 0, 0, 0, 1, 0]), None);
        assert_eq!(element(&[SET, 0x82, 1]), None);
        assert_eq!(element(&[SET, 0x81]), None);
    }
}
