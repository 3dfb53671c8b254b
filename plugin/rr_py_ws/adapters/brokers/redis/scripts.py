"""The scripts that keep histories in Redis. Each is atomic, and leaves nothing half done.

A topic has a hash (`epoch`; `top` and `nonce` of the newest message; `sum`: bytes of all payloads so far;
`low`: what `sum` was before the oldest message that is kept, or less; `due`: when times to live have to be
renewed) and a stream (ids: `<offset>-<nonce>`). Each may be lost without the other: a key is evicted,
or deleted by somebody. A hash that is lost begins a new epoch, and with it a new stream; a lost stream
shows by the hash.
"""

from __future__ import annotations

from rr_py_ws.adapters.brokers.redis.calls import make_script

_OPEN = """
local call, try, format = redis.call, redis.pcall, string.format
local stream, meta, fresh_epoch, life, owed, known_epoch, known_offset, known_nonce
local epoch, top, nonce, sum, low, due, is_fresh
local interval = 0  -- milliseconds after which the times to live are due again
local top_text, sum_text  -- to make a text of a number takes as long as half a command

local function text(number)
  return format('%d', number)
end

-- A failover to a server that lagged: what this caller has seen is not there, or something else is.
local function is_rolled_back()
  local offset = tonumber(known_offset)
  if top <= offset then return top < offset or nonce ~= known_nonce end
  local found = try('XRANGE', stream, known_offset, known_offset, 'COUNT', 1)
  return found[1] ~= nil and found[1][1] ~= known_offset .. '-' .. known_nonce
end

local function get_time()
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- When an epoch began, by its name; 0 when that does not tell.
local function began(name)
  return tonumber(string.match(name or '', '_(' .. string.rep('%x', 11) .. ')%-?$') or '', 16) or 0
end

local function open()
  local kept = try('HMGET', meta, 'epoch', 'top', 'nonce', 'sum', 'low', 'due')
  if kept.err then
    if not string.find(kept.err, 'WRONGTYPE', 1, true) then error(kept.err) end
    try('DEL', meta)
  end
  epoch, top, nonce, sum, low = kept[1], tonumber(kept[2]), kept[3], tonumber(kept[4]), tonumber(kept[5])
  due, sum_text = tonumber(kept[6]), kept[4]
  local is_lost = not (epoch and top and nonce and sum and low and due)
  local has_ended = owed == '*' or owed == epoch
  if known_epoch ~= '' and not is_lost and not has_ended then
    if known_epoch == epoch then
      has_ended = is_rolled_back()
    else
      has_ended = began(epoch) > 0 and began(known_epoch) > began(epoch)
    end
  end
  is_fresh = is_lost or has_ended
  if is_fresh then
    top, nonce, sum, low, due, sum_text = 0, '0', 0, 0, 0, '0'
    local time = math.max(get_time(), began(epoch) + 1, began(known_epoch) + 1)  -- whatever clocks say
    -- With `-` when something of the epoch before is lost that somebody may have missed.
    epoch = format('%s_%011x', fresh_epoch, time) .. (has_ended and '-' or '')
  end
end

-- The first write: when Redis lacks memory it refuses this one, and then nothing was done. Times to live are
-- renewed before they get shorter than they should be, not with each message: each command costs.
local function save(now)
  local is_due = now > due
  if is_due then due = now + interval end
  local saved
  if is_due or is_fresh or not top_text then
    saved = try('HSET', meta, 'epoch', epoch, 'top', top, 'nonce', nonce, 'sum', sum, 'low', low, 'due', due)
  else
    saved = try('HSET', meta, 'top', top_text, 'nonce', nonce, 'sum', sum_text)
  end
  if type(saved) == 'table' and saved.err then return saved.err end
  if is_fresh then call('DEL', stream) end
  if is_due then call('PEXPIRE', meta, math.ceil(life * 1.5)) end
  return nil, is_due
end
"""

_ONE = """
stream, meta = KEYS[1], KEYS[2]
fresh_epoch, life, owed, known_epoch, known_offset, known_nonce = unpack(ARGV, 1, 6)
"""
"""Begin a script about one topic. Its keys are stream and hash; its first arguments what the name of an epoch
that begins now has in front of its time (see `wire.position`), milliseconds for which a counter is kept, an
epoch that has to end (`*` for any), and the newest message that the caller knows of: epoch, offset, nonce."""

APPEND = make_script(
    _OPEN,
    """
local publish, is_plain, order, own_nonce, once_life = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local count, once = math.floor(#KEYS / 2), #KEYS % 2 == 1 and KEYS[#KEYS]
local rules, at = {}, 8
fresh_epoch = ARGV[1]
for number = 1, tonumber(ARGV[7]) do
  rules[number] = {unpack(ARGV, at, at + 4)}
  at = at + 5
end
local now = get_time()
local time, refusal = text(now), nil
local channel, marks, size, bytes, ttl, exactly, items, last  -- of the topic that is being kept

local function tell(kind, position, previous)
  local mark = kind .. ' ' .. position .. ' ' .. previous .. ' ' .. time .. '\\n' .. ARGV[items + 1]
  for at = items + 2, last, 2 do mark = mark .. '\\n' .. ARGV[at + 1] end
  if kind == 'whole' then
    local payloads = {}
    for at = items, last, 2 do payloads[#payloads + 1] = ARGV[at] end
    mark = mark .. '\\n\\n' .. table.concat(payloads, '\\n')
  end
  call(publish, marks, mark)
end

-- They are delivered, and cannot be kept: then nobody may believe that nothing is missing.
local function lose(why)
  local dropped = try('DEL', meta, stream)
  call(publish, marks, 'lost')
  tell('mark', '-', '0')
  return {why, type(dropped) == 'number' and 1 or 0}
end

local function trim()
  while true do
    local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 2)
    low = tonumber(oldest[1][2][8])
    if sum - low <= bytes or not oldest[2] then break end
    call('XDEL', stream, oldest[1][1])
  end
  call('HSET', meta, 'low', low)
end

-- Answers the position of the newest; or nil, and why they are not kept.
local function keep()
  open()
  local offset, previous, before, total = top, nonce, sum, sum_text
  top, nonce = top + (last + 2 - items) / 2, own_nonce
  for at = items, last, 2 do sum = sum + #ARGV[at] end
  top_text, sum_text = text(top), text(sum)
  -- What lacks memory for one topic lacks it for all; but only the first write of a script is refused.
  local problem, fades = refusal, false
  if not problem then problem, fades = save(now) end
  if problem then
    if not string.find(problem, 'WRONGTYPE', 1, true) then refusal = problem end
    return nil, problem
  end

  local follows = previous
  local least, is_first = top - size, true  -- of more than are kept, the oldest need not be added
  for at = items, last, 2 do
    local payload, line, added = ARGV[at], ARGV[at + 1]
    local exclude = string.sub(line, string.find(line, ' ', 1, true) + 1)
    offset = offset + 1
    if offset > least then
      local id = (offset == top and top_text or text(offset)) .. '-' .. nonce
      if is_first then
        added = try('XADD', stream, 'NOMKSTREAM', 'MAXLEN', exactly, size, id, 'payload', payload,
          'time', time, 'previous', previous, 'sum', total, 'exclude', exclude)
        if type(added) == 'table' then call('DEL', stream) end  -- somebody else has written there
        fades = fades or type(added) ~= 'string'
      end
      if type(added) ~= 'string' then
        added = try('XADD', stream, 'MAXLEN', exactly, size, id, 'payload', payload,
          'time', time, 'previous', previous, 'sum', total, 'exclude', exclude)
        if type(added) == 'table' then return nil, added.err end
      end
      is_first = false
    end
    if at < last then
      previous, before = nonce, before + #payload
      total = text(before)
    end
  end
  if fades then call('PEXPIRE', stream, math.ceil(ttl * 1.5)) end
  if sum - low > bytes then trim() end

  local position = epoch .. '.' .. top_text .. '.' .. nonce
  if once then call('SET', once, position, 'PX', once_life) end
  local first = items == last and position or epoch .. '.' .. text(top - (last - items) / 2) .. '.' .. nonce
  tell(is_plain == '1' and 'mark' or 'whole', first, follows)
  return position
end

if once then
  local before = call('GET', once)
  if before then return {{before}} end
end
local channels, next_item, last_item, answers, about, length, rule = {}, {}, {}, {}
for number = 1, count do
  stream, meta, channel, marks = KEYS[2 * number - 1], KEYS[2 * number], ARGV[at], ARGV[at + 1]
  if about ~= ARGV[at + 2] then
    about = ARGV[at + 2]
    length, rule, owed, known_epoch, known_offset, known_nonce =
      string.match(about, '^(%d+) (%d+) (%S*) (%S*) (%S*) (%S*)$')
    size, bytes, ttl, exactly, life = unpack(rules[tonumber(rule)])
    length, bytes, interval = tonumber(length), tonumber(bytes), ttl / 2
  end
  items = at + 3
  last = items + 2 * length - 2
  channels[number], next_item[number], last_item[number] = channel, items, last
  at = last + 2

  local ran, answer, why = pcall(keep)
  if not ran then answer, why = nil, type(answer) == 'table' and answer.err or tostring(answer) end
  if not answer then
    if once then return redis.error_reply(why) end
    ran, answer = pcall(lose, why)
    if not ran then answer = {why, -1} end
  end
  answers[number] = answer
end

local function publish_next(number)
  local item, answer = next_item[number], answers[number]
  next_item[number] = item + 2
  if type(answer) == 'string' then
    if is_plain == '0' then return end
  elseif answer[2] == -1 then
    return
  end
  local sent = try(publish, channels[number], ARGV[item])
  if type(sent) == 'table' then answers[number] = {sent.err, -1} end
end

if order == '' then
  for number = 1, count do
    while next_item[number] <= last_item[number] do publish_next(number) end
  end
else
  for number in string.gmatch(order, '%d+') do publish_next(tonumber(number)) end
end
if once and type(answers[1]) == 'table' then return redis.error_reply(answers[1][1]) end
return answers
""",
)
"""Keep messages of topics and publish them: first for each topic one mark of all, then each message as it is.
Of a topic all are kept, or none is; what becomes of one topic does not concern the others.

The keys are stream and hash of each topic. One more is the idempotency key of the only message.

Arguments: what the names of epochs that begin now have in front of their time, the command that publishes,
whether the messages are published as they are, and in which order, if not topic after topic: the number of
the topic for each message; a nonce, the milliseconds for which an idempotency key is known, and the number of
rules. Then of each rule: messages, bytes, milliseconds, whether so many messages are kept exactly (`=`), or
some more that nobody gets (`~`), and the milliseconds for which a counter is kept. Then of each topic its
channel, that of its marks, what it is about (below), and its messages: of each the payload, and its line of
the mark: the checksum, a space, and who is excluded. What it is about are six words, the last four of which
may be empty: how many messages follow, the number of the rule, an epoch that has to end (`*` for any), and
the newest message that the caller knows of (epoch, offset, nonce).

Answers for each topic the position of its last message; `[position]` for a duplicate; or `[why, 1, 0 or -1]`
when its messages are not kept: they were delivered, and the epoch was ended for that (1) or was not (0); or
nothing was delivered (-1).
"""

READ = make_script(
    _OPEN,
    _ONE,
    """
local after, count, bytes, ttl, upto = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]),
  tonumber(ARGV[10]), tonumber(ARGV[11])
local size = tonumber(ARGV[12])
open()
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if is_fresh then
  local problem = save(now)
  if problem then return redis.error_reply(problem) end
else
  -- Also shows that Redis takes writes: without, it may lack messages.
  call('PEXPIRE', meta, math.ceil(life * 1.5))
end
if known_epoch ~= epoch then after = -1 end
local oldest, first = now - ttl, math.max(top - size, 0)  -- what is before those is on its way out

local function find_first()
  local from = text(first + 1)
  while true do
    local page = try('XRANGE', stream, from, '+', 'COUNT', 16)
    if page.err or not page[1] then return top + 1 end
    for _, entry in ipairs(page) do
      local offset = tonumber(string.match(entry[1], '^%d+'))
      if tonumber(entry[2][4]) > oldest then return offset end
      from = text(offset + 1)
    end
  end
end

if upto < 0 then
  after = find_first() - 1
  upto = after - upto
end
after = math.max(after, first)
local entries, total, expected, is_more = {}, 0, math.min(top, upto), 0
while expected > after do
  if #entries >= count then
    local next = try('XREVRANGE', stream, text(expected), text(expected), 'COUNT', 1)
    if next[1] and tonumber(next[1][2][4]) > oldest then is_more = 1 end
    break
  end
  local page = try('XREVRANGE', stream, text(expected), text(after + 1), 'COUNT',
    math.min(16, count - #entries))
  if page.err or not page[1] then break end
  for _, entry in ipairs(page) do
    local offset = tonumber(string.match(entry[1], '^%d+'))
    local fields = entry[2]
    if offset ~= expected or tonumber(fields[4]) <= oldest then after = expected break end
    total = total + #fields[2]
    if total > bytes and #entries > 0 then is_more, after = 1, expected break end
    entries[#entries + 1] = {entry[1], fields[2], fields[4], fields[6], fields[10]}
    expected = expected - 1
  end
end
return {epoch, text(top), nonce, time[1], time[2], is_more, entries}
""",
)
"""Read what came after an offset, the newest first, as far as it is kept without a hole.

Arguments: those of `_ONE`, then the offset (which counts only in the epoch that the caller knows of), the
most messages and bytes, the milliseconds for which messages are kept, the last offset to look at (or, below
0, how many messages from the oldest on, with the sign changed), and how many messages are kept. Answers
epoch, offset and nonce of the newest message, the time (seconds, microseconds), whether more is kept than is
answered, and the messages: id, payload, milliseconds, nonce of the one before, who is excluded.
"""

CLEAR = make_script(
    _OPEN,
    _ONE,
    """
local publish, marks = ARGV[7], ARGV[8]
open()
low = sum
local problem = save(get_time())
if problem then return redis.error_reply(problem) end
call('DEL', stream)
call(publish, marks, 'clear ' .. epoch .. '.' .. text(top) .. '.' .. nonce)
return {epoch .. '.' .. text(top) .. '.' .. nonce}
""",
)
"""Drop all messages; the counter stays.

Arguments: those of `_ONE`, the command that publishes, the channel of marks. Answers the position of the
newest message.
"""

ONCE = make_script(
    """
local once_life, publish, channel, payload, marks, mark = unpack(ARGV)
local before = redis.call('GET', KEYS[1])
if before then return {before, 1} end
redis.call('SET', KEYS[1], '', 'PX', once_life)
if publish then
  if mark ~= '' then redis.call(publish, marks, mark) end
  redis.call(publish, channel, payload)
end
return {'', 0}
"""
)
"""Note an idempotency key, and publish without a history if it is new.

Arguments: milliseconds for which the key is known; and if something is to be published: the command that does
it, channel, payload, the channel of marks, and a mark that goes before if it is not empty. Answers the
position, which may be empty, and 1 for a duplicate.
"""

FORGET = make_script("return {redis.call('DEL', KEYS[1])}")
"""Forget an idempotency key: nothing was published."""
