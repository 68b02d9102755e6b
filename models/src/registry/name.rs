//! Names as folders: any service name becomes one path segment and comes back; report names are checked.

use super::RegistryError;

const MAX_SERVICE_BYTES: usize = 200;
const MAX_NAME_BYTES: usize = 80;

/// The folder of a service: letters, digits, `.`, `_` and `-` as they are (but not a first `.`), every other byte as `=`
/// and two hexadecimal digits. `%` would be taken for an encoded character by some stores.
pub(super) fn service_folder(service: &str) -> Result<String, RegistryError> {
    let mut folder = String::new();
    for (i, byte) in service.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => folder.push(char::from(byte)),
            b'.' if i > 0 => folder.push('.'),
            _ => folder.push_str(&format!("={byte:02x}")),
        }
    }
    if folder.is_empty() || folder.len() > MAX_SERVICE_BYTES {
        let shown = service.chars().take(100).collect();
        return Err(RegistryError::ServiceName(shown));
    }
    Ok(folder)
}

/// The service of a folder; `None` for a folder that is not one of ours.
pub(super) fn service_of_folder(folder: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = folder.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let service = String::from_utf8(bytes).ok()?;
    (service_folder(&service).ok()? == folder).then_some(service)
}

/// Passes a name that is safe as a path segment anywhere.
pub(super) fn plain_name(what: &'static str, name: &str) -> Result<(), RegistryError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(RegistryError::Name { what, got: name.chars().take(100).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_mean_something_to_a_file_system_are_encoded() {
        assert_eq!(service_folder("checkout").unwrap(), "checkout");
        assert_eq!(service_folder("shop/web app").unwrap(), "shop=2fweb=20app");
        assert_eq!(service_folder("..").unwrap(), "=2e.");
        assert!(service_folder("").is_err());
        assert!(service_folder(&"x".repeat(201)).is_err());
        assert_eq!(service_of_folder("=zz"), None);
        assert_eq!(service_of_folder("=41"), None, "A is never written encoded");
        assert!(plain_name("a report's name", "../x").is_err());
    }

    proptest! {
        #[test]
        fn every_service_comes_back_from_its_folder(service in "\\PC{1,50}") {
            if let Ok(folder) = service_folder(&service) {
                prop_assert!(folder.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-=".contains(&b)));
                prop_assert_eq!(service_of_folder(&folder), Some(service));
            }
        }

        #[test]
        fn no_folder_name_panics(folder in "\\PC{0,20}") {
            let _ = service_of_folder(&folder);
        }
    }
}
