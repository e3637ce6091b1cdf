//! The pages of a damaged database, read without SQLite, which gives up where a tree is broken. Follows the
//! [SQLite file format](https://www.sqlite.org/fileformat2.html), sections 1 to 4.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
};

use rusqlite::types::ValueRef;

use super::schema::{PAGE_SIZE, ROOTS};

const TABLE_LEAF: u8 = 13;
const TABLE_INTERIOR: u8 = 5;
const INDEX_LEAF: u8 = 10;
const INDEX_INTERIOR: u8 = 2;

const MAPPED_ROOT: u8 = 1;
const MAPPED_TREE: u8 = 5;

/// The byte that SQLite locks; its page holds nothing.
const LOCK_BYTE: u64 = 0x4000_0000;

/// A database file with what its log holds.
pub struct Pages {
    file: Option<File>,
    log: Option<File>,
    page_size: usize,
    count: u32,
    /// Where in the log the last committed version of a page begins.
    in_log: HashMap<u32, u64>,
}

/// A row of a table.
pub struct RawRow {
    key: i64,
    payload: Vec<u8>,
}

impl Pages {
    /// Opens them; either may be missing.
    pub fn open(store: &Path, log: &Path) -> io::Result<Self> {
        let file = open_if_there(store)?;
        let log = open_if_there(log)?;
        let mut header = [0; 18];
        if let Some(file) = &file {
            read_up_to(file, &mut header, 0)?;
        }
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => PAGE_SIZE as usize,
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
        let mut pages = Self { file, log, page_size, count: 0, in_log: HashMap::new() };
        pages.read_log()?;
        let in_file = u32::try_from(length.div_ceil(page_size as u64)).unwrap_or(u32::MAX);
        pages.count = pages.in_log.keys().copied().max().unwrap_or(0).max(in_file);
        Ok(pages)
    }

    /// Gives every row of every table, of those that are in a tree: what was deleted, and what only looks like a page,
    /// is not. Says how many pages should have rows, but cannot be read.
    pub fn for_each_row(&self, mut each: impl FnMut(u32, RawRow)) -> io::Result<u64> {
        let parents = self.parents()?;
        let mut unreadable = 0;
        for number in 2..=self.count {
            if !self.is_tree(number, &parents)? {
                continue;
            }
            let page = self.page(number)?;
            match page[0] {
                TABLE_LEAF => unreadable += u64::from(!self.rows(number, &page, &mut each)?),
                TABLE_INTERIOR | INDEX_LEAF | INDEX_INTERIOR => {}
                _ => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// The page that each page is reached from, as far as that can be read.
    fn parents(&self) -> io::Result<HashSet<(u32, u32)>> {
        let mut parents = HashSet::new();
        for number in 2..=self.count {
            let (kind, _) = self.mapped(number)?;
            if !matches!(kind, MAPPED_ROOT | MAPPED_TREE) && !is_root(number) {
                continue;
            }
            let page = self.page(number)?;
            if page[0] != TABLE_INTERIOR {
                continue;
            }
            parents.extend(integer_at(&page, 8).map(|last| (last, number)));
            for cell in cells(&page, 12) {
                parents.extend(integer_at(&page, cell).map(|child| (child, number)));
            }
        }
        Ok(parents)
    }

    /// Whether a page belongs to a tree. Where SQLite's map of pages says something else, both the map and a page above
    /// have to agree whose child it is: a message may look like a page.
    fn is_tree(&self, number: u32, parents: &HashSet<(u32, u32)>) -> io::Result<bool> {
        if self.is_map(number) || u64::from(number - 1) == LOCK_BYTE / self.page_size as u64 {
            return Ok(false);
        }
        let (kind, parent) = self.mapped(number)?;
        Ok(is_root(number)
            || matches!(kind, MAPPED_ROOT | MAPPED_TREE)
            || parents.contains(&(number, parent)))
    }

    /// The rows of a leaf. False if the page cannot be read to its end.
    fn rows(&self, number: u32, page: &[u8], each: &mut impl FnMut(u32, RawRow)) -> io::Result<bool> {
        let mut is_readable = true;
        let announced = u16::from_be_bytes([page[3], page[4]]);
        let mut seen = 0;
        for cell in cells(page, 8) {
            seen += 1;
            match self.row(page, cell)? {
                Some(row) => each(number, row),
                None => is_readable = false,
            }
        }
        Ok(is_readable && seen == announced)
    }

    fn row(&self, page: &[u8], at: usize) -> io::Result<Option<RawRow>> {
        let Some((length, used)) = page.get(at..).and_then(varint) else { return Ok(None) };
        let Some((key, more)) = page.get(at + used..).and_then(varint) else { return Ok(None) };
        let start = at + used + more;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        if length as u64 > u64::from(self.count) * self.page_size as u64 {
            return Ok(None);
        }
        let local = self.local(length);
        let Some(bytes) = page.get(start..start + local) else { return Ok(None) };
        let mut payload = bytes.to_vec();
        let mut next = if local < length { integer_at(page, start + local) } else { None };
        while payload.len() < length {
            let Some(number) = next.filter(|number| (2..=self.count).contains(number)) else {
                return Ok(None);
            };
            let overflow = self.page(number)?;
            let wanted = (length - payload.len()).min(self.page_size - 4);
            payload.extend_from_slice(&overflow[4..4 + wanted]);
            next = integer_at(&overflow, 0);
        }
        Ok(Some(RawRow { key: key.cast_signed(), payload }))
    }

    /// How much of a payload is in its leaf.
    fn local(&self, payload: usize) -> usize {
        let most = self.page_size - 35;
        if payload <= most {
            return payload;
        }
        let least = (self.page_size - 12) * 32 / 255 - 23;
        let fitting = least + (payload - least) % (self.page_size - 4);
        if fitting <= most { fitting } else { least }
    }

    /// What SQLite's map says of a page: its kind and the page that leads to it.
    fn mapped(&self, number: u32) -> io::Result<(u8, u32)> {
        let map = self.map_of(number);
        if number <= map {
            return Ok((0, 0));
        }
        let page = self.page(map)?;
        let at = 5 * (number - map - 1) as usize;
        Ok((page[at], integer_at(&page, at + 1).unwrap_or(0)))
    }

    fn map_of(&self, number: u32) -> u32 {
        let covered = self.page_size as u32 / 5 + 1;
        let map = (number - 2) / covered * covered + 2;
        if u64::from(map - 1) == LOCK_BYTE / self.page_size as u64 { map + 1 } else { map }
    }

    fn is_map(&self, number: u32) -> bool {
        self.map_of(number) == number
    }

    /// A page; zeros where the file has none.
    fn page(&self, number: u32) -> io::Result<Vec<u8>> {
        let mut page = vec![0; self.page_size];
        match (self.in_log.get(&number), &self.log, &self.file) {
            (Some(at), Some(log), _) => read_up_to(log, &mut page, *at)?,
            (None, _, Some(file)) => {
                read_up_to(file, &mut page, u64::from(number - 1) * self.page_size as u64)?;
            }
            _ => {}
        }
        Ok(page)
    }

    /// Finds the pages in the log: those before the last commit, without the ones whose checksum is wrong.
    fn read_log(&mut self) -> io::Result<()> {
        const HEADER: u64 = 32;
        const FRAME_HEADER: usize = 24;
        let Some(log) = &self.log else { return Ok(()) };
        let mut header = [0; HEADER as usize];
        read_up_to(log, &mut header, 0)?;
        let is_big_endian = header[3] & 1 == 1;
        let salts = header[16..24].to_vec();
        let mut sum = checksum_at(&header, 24);
        let mut frame = vec![0; FRAME_HEADER + self.page_size];
        let length = log.metadata()?.len();
        let mut uncommitted = Vec::new();
        let mut at = HEADER;
        while at + frame.len() as u64 <= length {
            log.read_exact_at(&mut frame, at)?;
            if frame[8..16] != salts[..] {
                break;
            }
            let expected = checksum(checksum(sum, &frame[..8], is_big_endian), &frame[24..], is_big_endian);
            sum = checksum_at(&frame, 16);
            if expected == sum {
                uncommitted.extend(integer_at(&frame, 0).map(|page| (page, at + FRAME_HEADER as u64)));
                if integer_at(&frame, 4) != Some(0) {
                    self.in_log.extend(uncommitted.drain(..));
                }
            }
            at += frame.len() as u64;
        }
        Ok(())
    }
}

impl RawRow {
    /// Bytes of its columns.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// Gives its columns, the row's number in the place of the first; `None` if they cannot be read or are more than
    /// `COLUMNS`.
    pub fn columns<'a, const COLUMNS: usize>(
        &'a self,
        columns: &'a mut [ValueRef<'a>; COLUMNS],
    ) -> Option<&'a [ValueRef<'a>]> {
        let (header_length, used) = varint(&self.payload)?;
        let header_length = usize::try_from(header_length).ok()?;
        let mut types = self.payload.get(used..header_length)?;
        let mut body = self.payload.get(header_length..)?;
        let mut count = 0;
        while !types.is_empty() {
            let (kind, used) = varint(types)?;
            types = &types[used..];
            let (value, length) = value(kind, body)?;
            body = &body[length..];
            *columns.get_mut(count)? = value;
            count += 1;
        }
        if let Some(first @ ValueRef::Null) = columns.first_mut() {
            *first = ValueRef::Integer(self.key);
        }
        Some(&columns[..count])
    }
}

fn value(kind: u64, body: &[u8]) -> Option<(ValueRef<'_>, usize)> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind as usize,
        5 => 6,
        6 => 8,
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        7 | 10 | 11 => return None,
    };
    let bytes = body.get(..length)?;
    let value = match kind {
        0 => ValueRef::Null,
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        1..=6 => {
            let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
            ValueRef::Integer(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
        }
        _ if kind.is_multiple_of(2) => ValueRef::Blob(bytes),
        _ => ValueRef::Text(bytes),
    };
    Some((value, length))
}

/// Where the cells of a tree's page are.
fn cells(page: &[u8], pointers: usize) -> impl Iterator<Item = usize> + '_ {
    let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
    page[pointers..]
        .chunks_exact(2)
        .take(count)
        .map(|pointer| usize::from(u16::from_be_bytes([pointer[0], pointer[1]])))
        .filter(move |cell| (pointers..page.len()).contains(cell))
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn integer_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn checksum_at(bytes: &[u8], at: usize) -> (u32, u32) {
    (integer_at(bytes, at).unwrap_or(0), integer_at(bytes, at + 4).unwrap_or(0))
}

fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}

fn is_root(number: u32) -> bool {
    ROOTS.contains(&number)
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads what there is; the rest of the buffer stays. What the device cannot read counts as not there.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(DEVICE_ERROR) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// EIO: a sector that cannot be read.
const DEVICE_ERROR: i32 = 5;
