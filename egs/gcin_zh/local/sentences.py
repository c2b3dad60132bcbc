"""Sentences of a small domain: numbers, dates, times, telephone numbers, commands to a home. About a hundred
characters.

Run: ``sentences.py --count N --seed S --exclude FILE ...`` prints ``ID SENTENCE`` lines without repeats and without any
sentence of the excluded lists.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

DIGITS = "零一二三四五六七八九"
ROOMS = ["客厅", "卧室", "厨房", "书房", "门口"]
DEVICES = ["灯", "空调", "电视", "窗帘", "音乐", "风扇", "热水器"]
COMMANDS = [
    "打开{room}的{device}",
    "关上{room}的{device}",
    "请把{room}{device}关掉",
    "把{room}的{device}打开",
    "{room}的{device}开了吗",
    "帮我打开{device}",
    "现在关上所有的{device}",
]


def number(n: int) -> str:
    """A number below ten thousand, in characters."""
    if n < 10:
        return DIGITS[n]
    if n < 100:
        tens, ones = divmod(n, 10)
        return ("" if tens == 1 else DIGITS[tens]) + "十" + (DIGITS[ones] if ones else "")
    size, name = (1000, "千") if n >= 1000 else (100, "百")
    head, rest = divmod(n, size)
    if not rest:
        return DIGITS[head] + name
    zero = "零" if rest < size // 10 else ""
    ten = "一" if 10 <= rest < 20 else ""
    return DIGITS[head] + name + zero + ten + number(rest)


def sentence(chooser: random.Random) -> str:
    kind = chooser.randrange(6)
    if kind == 0:
        month, day = number(chooser.randint(1, 12)), number(chooser.randint(1, 31))
        return f"{chooser.choice(['今天', '明天', '后天'])}是{month}月{day}日"
    if kind == 1:
        hour, minute = number(chooser.randint(1, 12)), number(chooser.randint(1, 59))
        return f"{chooser.choice(['上午', '下午', '晚上'])}{hour}点{minute}分{chooser.choice(['叫我', '开会', '出门'])}"
    if kind == 2:
        return "电话号码是" + "".join(chooser.choice(DIGITS) for _ in range(chooser.randint(5, 8)))
    if kind == 3:
        return f"一共{number(chooser.randint(1, 9999))}{chooser.choice(['元', '个人', '公里'])}"
    if kind == 4:
        degrees, device = number(chooser.randint(16, 30)), chooser.choice(["空调", "热水器"])
        return f"把{chooser.choice(ROOMS)}{device}调到{degrees}度"
    return chooser.choice(COMMANDS).format(room=chooser.choice(ROOMS), device=chooser.choice(DEVICES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix", default="S")
    parser.add_argument("--exclude", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    seen = {line.split(maxsplit=1)[1] for path in args.exclude for line in path.read_text("utf-8").splitlines()}
    chooser = random.Random(args.seed)
    written = 0
    while written < args.count:
        text = sentence(chooser)
        if text not in seen:
            seen.add(text)
            print(f"{args.prefix}{written:05d} {text}")
            written += 1


if __name__ == "__main__":
    main()
