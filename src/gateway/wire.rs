//! Protobuf on the wire, read as Go's `proto.Unmarshal` reads it, for the few fields the gateway looks at.

/// Why a message is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a varint of more than 64 bits")]
    Varint,
    /// A field number that protobuf does not have.
    #[error("a field number that does not exist")]
    Number,
    /// A group, or a wire type that does not exist.
    #[error("a group or an unknown wire type")]
    WireType,
    /// A name that is not text.
    #[error("a string that is not UTF-8")]
    Utf8,
}

/// The greatest field number.
const GREATEST: u64 = (1 << 29) - 1;

/// Gives every length-delimited field of a message to `each`, in order; others are skipped.
pub(super) fn scan<'a>(mut rest: &'a [u8], mut each: impl FnMut(u32, &'a [u8])) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..=GREATEST).contains(&u64::from(*n)));
        let number = number.ok_or(Malformed::Number)?;
        match tag & 7 {
            0 => drop(varint(&mut rest)?),
            1 => drop(take(&mut rest, 8)?),
            2 => {
                let length = varint(&mut rest)?;
                each(number, take(&mut rest, length)?);
            }
            5 => drop(take(&mut rest, 4)?),
            _ => return Err(Malformed::WireType),
        }
    }
    Ok(())
}

/// The string at the end of `path`: the last one stands; messages on the way are merged. Empty when it is absent.
pub(super) fn text(message: &[u8], path: &[u32]) -> Result<String, Malformed> {
    let mut found = "";
    walk(message, path, &mut |value| {
        found = std::str::from_utf8(value).map_err(|_| Malformed::Utf8)?;
        Ok(())
    })?;
    Ok(found.to_owned())
}

/// Every value at the end of `path`, in order.
pub(super) fn walk<'a>(
    message: &'a [u8],
    path: &[u32],
    each: &mut dyn FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let Some((first, deeper)) = path.split_first() else { return each(message) };
    let mut result = Ok(());
    scan(message, |number, value| {
        if number == *first && result.is_ok() {
            result = walk(value, deeper, each);
        }
    })?;
    result
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, after) = rest.split_first().ok_or(Malformed::Truncated)?;
        *rest = after;
        if place == 9 && *byte > 1 {
            return Err(Malformed::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Varint)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
    let (taken, after) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }

    #[test]
    fn the_last_occurrence_wins_and_unknown_fields_are_skipped() {
        let message = [field(1, b"first"), vec![0x18, 0x96, 0x01, 0x25, 1, 2, 3, 4], field(1, b"last")].concat();
        assert_eq!(text(&message, &[1]).unwrap(), "last");
        let nested = [field(2, &field(1, b"first")), field(2, &field(3, b"other"))].concat();
        assert_eq!(text(&nested, &[2, 1]).unwrap(), "first", "merged, as Go does");
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let refused: [(&[u8], &str); 7] = [
            (&[0x0a, 5, b'a'], "the message ends inside a field"),
            (&[0x0b], "a group or an unknown wire type"),
            (&[0x0e], "a group or an unknown wire type"),
            (&[0x02, 0], "a field number that does not exist"),
            (&[0x0a, 1, 0xff], "a string that is not UTF-8"),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], "a varint of more than 64 bits"),
            (&[0x80], "the message ends inside a field"),
        ];
        for (message, why) in refused {
            assert_eq!(text(message, &[1]).unwrap_err().to_string(), why, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = text(&bytes, &[2, 1]);
        }

        #[test]
        fn what_an_encoder_writes_is_read(values in prop::collection::vec("[a-zé]{0,20}", 1..8)) {
            let message: Vec<u8> = values.iter().flat_map(|value| field(4, value.as_bytes())).collect();
            prop_assert_eq!(&text(&message, &[4]).unwrap(), values.last().unwrap());
        }
    }
}
