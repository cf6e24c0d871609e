//! Interfaces and addresses: reading them in bulk, and changing them one by one through `rtnetlink`.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec,
    packet_route::address::AddressMessage,
};

use crate::{
    host::Error,
    ifname::IfName,
    linkinfo,
    netlink::{Answer, Message, NLM_F_DUMP, Socket},
    netlink::{attributes, text, u8_at, u32_at},
    observed::LinkObserved,
    op::Op,
    route::read_address,
};

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves the traffic counters out of the answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// The size of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// The size of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// Asks for all interfaces.
fn dump() -> Message {
    Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; IFINFOMSG])
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

/// Asks for the interface of that name.
pub(crate) fn ask(dev: IfName) -> Message {
    Message::new(RTM_GETLINK, 0, &[0; IFINFOMSG])
        .attribute(IFLA_IFNAME, &[dev.as_str().as_bytes(), &[0]].concat())
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

/// Asks for all addresses of both families.
fn dump_addresses() -> Message {
    Message::new(RTM_GETADDR, NLM_F_DUMP, &[0; IFADDRMSG])
}

/// Reads an interface; `None` if it is none.
pub(crate) fn read(answer: &Answer<'_>) -> Option<(IfName, LinkObserved)> {
    if answer.kind != RTM_NEWLINK && answer.kind != RTM_DELLINK {
        return None;
    }
    // Messages of the bridge's own family tell about ports, not about interfaces.
    if u8_at(answer.body, 0)? != 0 {
        return None;
    }
    let flags = u32_at(answer.body, 8)?;
    let mut link = LinkObserved {
        index: u32_at(answer.body, 4)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..LinkObserved::default()
    };
    let mut name = None;
    for (kind, value) in attributes(answer.body, IFINFOMSG) {
        match kind {
            IFLA_IFNAME => name = text(value).parse().ok(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_LINKINFO => (link.kind, link.make) = linkinfo::read(value),
            _ => {}
        }
    }
    Some((name?, link))
}

/// Reads an address and the number of its interface; `None` if it is none.
pub(crate) fn read_ifaddr(answer: &Answer<'_>) -> Option<(u32, IpNet)> {
    if answer.kind != RTM_NEWADDR && answer.kind != RTM_DELADDR {
        return None;
    }
    let (mut address, mut local) = (None, None);
    for (kind, value) in attributes(answer.body, IFADDRMSG) {
        match kind {
            IFA_ADDRESS => address = read_address(value),
            IFA_LOCAL => local = read_address(value),
            _ => {}
        }
    }
    // On a point-to-point interface IFA_ADDRESS may be the peer's.
    let address = local.or(address)?;
    Some((
        u32_at(answer.body, 4)?,
        IpNet::new(address, u8_at(answer.body, 1)?).ok()?,
    ))
}

/// All interfaces with their addresses.
pub(crate) async fn observe(socket: &mut Socket) -> Result<BTreeMap<IfName, LinkObserved>, Error> {
    let mut links = BTreeMap::new();
    let collect = |answer: Option<&Answer<'_>>| match answer {
        None => links.clear(),
        Some(answer) => links.extend(read(answer)),
    };
    socket.dump("interfaces", &dump(), collect).await?;
    let mut addresses = Vec::new();
    let collect = |answer: Option<&Answer<'_>>| match answer {
        None => addresses.clear(),
        Some(answer) => addresses.extend(read_ifaddr(answer)),
    };
    socket.dump("addresses", &dump_addresses(), collect).await?;
    for (index, address) in addresses {
        if let Some(link) = links.values_mut().find(|link| link.index == index) {
            link.addresses.insert(address);
        }
    }
    Ok(links)
}

/// The interface's number in the calling thread's network namespace.
pub(crate) fn index_of(dev: IfName) -> Result<u32, Errno> {
    nix::net::if_::if_nametoindex(dev.as_str())
}

/// The number of the loopback interface, which every network namespace has.
pub(crate) fn loopback() -> Result<u32, Errno> {
    nix::net::if_::if_nametoindex("lo")
}

/// Applies an operation on an interface; `None` if it is none.
pub(crate) async fn apply(handle: &Handle, op: &Op) -> Option<Result<(), Errno>> {
    let result = match op {
        Op::SetAlias { dev, alias } => {
            change(handle, *dev, |link| link.alias(alias.as_str())).await
        }
        Op::SetMtu { dev, mtu } => change(handle, *dev, |link| link.mtu(*mtu)).await,
        Op::SetUp { dev } => change(handle, *dev, LinkMessageBuilder::up).await,
        Op::DelLink { dev } => delete(handle, *dev).await,
        Op::AddAddress { dev, address } => add_address(handle, *dev, *address).await,
        Op::DelAddress { dev, address } => delete_address(handle, *dev, *address).await,
        _ => return None,
    };
    Some(result)
}

/// Changes one thing about an interface that exists.
pub(crate) async fn change(
    handle: &Handle,
    dev: IfName,
    with: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Result<(), Errno> {
    let message = with(LinkUnspec::new_with_index(index_of(dev)?)).build();
    handle
        .link()
        .set(message)
        .execute()
        .await
        .map_err(|e| errno(&e))
}

async fn delete(handle: &Handle, dev: IfName) -> Result<(), Errno> {
    handle
        .link()
        .del(index_of(dev)?)
        .execute()
        .await
        .map_err(|e| errno(&e))
}

pub(crate) async fn add_address(handle: &Handle, dev: IfName, net: IpNet) -> Result<(), Errno> {
    let request = handle
        .address()
        .add(index_of(dev)?, net.addr(), net.prefix_len());
    request.replace().execute().await.map_err(|e| errno(&e))
}

async fn delete_address(handle: &Handle, dev: IfName, net: IpNet) -> Result<(), Errno> {
    let message = address_message(index_of(dev)?, net);
    handle
        .address()
        .del(message)
        .execute()
        .await
        .map_err(|e| errno(&e))
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    match net.addr() {
        IpAddr::V4(v4) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(v4, net.prefix_len())
            .build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(v6, net.prefix_len())
            .build(),
    }
}

/// The kernel's error number in an error of `rtnetlink`.
pub(crate) fn errno(error: &rtnetlink::Error) -> Errno {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            Errno::from_raw(message.raw_code().saturating_neg())
        }
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::put_attribute;

    fn answer(kind: u16, body: &[u8]) -> Answer<'_> {
        Answer {
            kind,
            flags: 0,
            sequence: 0,
            port: 0,
            body,
        }
    }

    #[test]
    fn an_interface_is_read_with_what_matters_and_never_panics_when_cut() {
        let mut body = vec![0; IFINFOMSG];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body[8..12].copy_from_slice(&(IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        put_attribute(&mut body, IFLA_IFNAME, b"tun1\0");
        put_attribute(&mut body, IFLA_MTU, &1400_u32.to_ne_bytes());
        put_attribute(&mut body, IFLA_IFALIAS, b"causeway:oci-1");
        let mut info = Vec::new();
        put_attribute(&mut info, 1, b"tun\0");
        put_attribute(&mut body, IFLA_LINKINFO, &info);

        let (name, link) = read(&answer(RTM_NEWLINK, &body)).unwrap();

        assert_eq!((name.as_str(), link.index, link.mtu), ("tun1", 7, 1400));
        assert_eq!(
            (link.kind.as_str(), link.alias.as_str()),
            ("tun", "causeway:oci-1")
        );
        assert!(link.up && link.carrier && link.is_ours());
        for length in 0..body.len() {
            let _ = read(&answer(RTM_NEWLINK, &body[..length]));
        }
    }

    #[test]
    fn the_local_address_counts_where_there_is_a_peers_too() {
        let mut body = vec![2, 31, 0, 0, 7, 0, 0, 0];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        put_attribute(&mut body, IFA_ADDRESS, &[10, 1, 0, 1]);
        put_attribute(&mut body, IFA_LOCAL, &[10, 1, 0, 0]);
        let read = read_ifaddr(&answer(RTM_NEWADDR, &body)).unwrap();
        assert_eq!(read, (7, "10.1.0.0/31".parse().unwrap()));
        for length in 0..body.len() {
            let _ = read_ifaddr(&answer(RTM_NEWADDR, &body[..length]));
        }
    }
}
