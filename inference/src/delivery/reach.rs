//! Which addresses a message may go to: public ones, and of the others those that were listed. A name is judged by what it resolves to
//! at the moment of connecting, so that nobody's DNS can point a signed message into this network (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

/// The networks that may be reached besides the public ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    listed: Arc<[IpNet]>,
}

/// An address that is neither public nor listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is neither public nor in requests.allow_networks")]
pub struct OutOfReach {
    /// The address, or the name and what it resolved to.
    pub address: String,
}

impl Default for Reach {
    /// This machine.
    fn default() -> Self {
        let loopback = [IpAddr::from(Ipv4Addr::new(127, 0, 0, 0)), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let nets = [IpNet::new_assert(loopback[0], 8), IpNet::new_assert(loopback[1], 128)];
        Self::new(nets)
    }
}

impl Reach {
    /// Public addresses, and these networks.
    pub fn new(listed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { listed: listed.into_iter().collect() }
    }

    /// Whether a message may go there.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = unwrapped(address);
        is_public(address) || self.listed.iter().any(|net| net.contains(&address))
    }

    /// Refuses a host that is an address out of reach; a name is judged when it is resolved.
    pub fn check_host(&self, host: Option<Host<&str>>) -> Result<(), OutOfReach> {
        let address = match host {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allows(address) { Ok(()) } else { Err(OutOfReach { address: address.to_string() }) }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (allowed, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| reach.allows(a.ip()));
            if allowed.is_empty()
                && let Some(first) = refused.first()
            {
                let address = format!("{} ({})", name.as_str(), first.ip());
                return Err(Box::new(OutOfReach { address }) as Box<dyn std::error::Error + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The IPv4 address that an IPv6 one stands for (RFC 4291 2.5.5.2, RFC 6052 2.1), else the address itself.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into(),
        _ => address,
    }
}

/// By the IANA registries of special-purpose addresses (RFC 6890); what is not surely public is not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b));
            !special
        }
        // Only 2000::/3 is given out; of it, documentation and the tunnels that hide an IPv4 address are not.
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, 0x0db8, ..] | [0x2001, 0x0000, ..] | [0x2002, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_in_reach_and_special_ones_are_not() {
        let nothing_listed = Reach::new([]);
        for public in ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"] {
            assert!(nothing_listed.allows(ip(public)), "{public}");
        }
        for special in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2001:db8::1",
        ] {
            assert!(!nothing_listed.allows(ip(special)), "{special}");
        }
    }

    #[test]
    fn what_is_listed_is_in_reach_also_in_the_clothes_of_ipv6() {
        let listed = Reach::new(["10.0.0.0/8".parse().unwrap()]);
        assert!(listed.allows(ip("10.9.9.9")) && listed.allows(ip("::ffff:10.9.9.9")));
        assert!(!listed.allows(ip("127.0.0.1")), "a list takes the place of the default");
        assert!(Reach::default().allows(ip("127.0.0.53")) && Reach::default().allows(ip("::1")));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let resolve =
            |reach: Reach| async move { reach.resolve("localhost".parse().unwrap()).await.map(Iterator::count) };
        assert!(resolve(Reach::default()).await.unwrap() > 0);
        let refused = resolve(Reach::new([])).await.unwrap_err().to_string();
        assert!(refused.contains("localhost (") && refused.contains("requests.allow_networks"), "{refused}");
    }

    #[test]
    fn a_host_that_is_an_address_is_judged_at_once() {
        let of = |url: &str| Reach::default().check_host(url::Url::parse(url).unwrap().host());
        assert!(of("http://127.0.0.1:9000/hook").is_ok() && of("https://hooks.example.org/").is_ok());
        assert_eq!(of("http://169.254.169.254/latest").unwrap_err().address, "169.254.169.254");
        assert!(of("http://[fd00::1]/").is_err());
        assert!(of("http://0x7f.1/").is_ok(), "an odd spelling of loopback is loopback");
    }
}
