"""Samples of what people send to a chatbot, written for this purpose: what the token estimate is measured on."""

from collections.abc import Mapping

TEXTS: Mapping[str, str] = {
    "English": """Last spring we moved into an old house by the river, and I have been meaning to write to you ever since.
The garden was a wilderness when we came: brambles up to the windows, an apple tree that had not been pruned in years, and
somewhere underneath it all a stone path that leads down to the water. We have cleared about half of it by now. Could you
suggest what to plant in the shady corner behind the shed? The soil is heavy clay, it stays wet until May, and the deer eat
nearly everything. I would prefer something that looks after itself, flowers late in the summer, and doesn't mind frost.""",
    "German": """Im vergangenen Frühjahr sind wir in ein altes Haus am Fluss gezogen, und seither wollte ich dir schreiben. Der
Garten war völlig verwildert: Brombeeren bis an die Fenster, ein Apfelbaum, den seit Jahren niemand mehr geschnitten hatte, und
irgendwo darunter ein gepflasterter Weg hinunter zum Wasser. Ungefähr die Hälfte haben wir inzwischen freigelegt. Welche
Stauden würdest du für die schattige Ecke hinter dem Geräteschuppen empfehlen? Der Boden ist schwerer Lehm, bleibt bis in den
Mai hinein nass, und die Rehe fressen beinahe alles. Am liebsten hätte ich etwas Pflegeleichtes, das spät im Sommer blüht.""",
    "French": """Au printemps dernier, nous avons emménagé dans une vieille maison au bord de la rivière, et depuis je voulais
t'écrire. Le jardin était à l'abandon : des ronces jusqu'aux fenêtres, un pommier que personne n'avait taillé depuis des années
et, quelque part en dessous, un chemin de pierre qui descend jusqu'à l'eau. Nous en avons dégagé à peu près la moitié. Que me
conseillerais-tu de planter dans le coin ombragé derrière l'abri ? La terre est argileuse et lourde, elle reste trempée
jusqu'en mai, et les chevreuils mangent presque tout. Je préférerais quelque chose qui se débrouille tout seul.""",
    "Russian": """Прошлой весной мы переехали в старый дом у реки, и с тех пор я всё собираюсь тебе написать. Сад совсем
зарос: ежевика до самых окон, яблоня, которую много лет никто не обрезал, а где-то под всем этим — каменная дорожка к воде.
Примерно половину мы уже расчистили. Что бы ты посоветовал посадить в тенистом углу за сараем? Земля — тяжёлая глина, до мая
стоит мокрая, а косули съедают почти всё. Хотелось бы чего-нибудь неприхотливого, что цветёт в конце лета.""",
    "Arabic": """انتقلنا في الربيع الماضي إلى بيت قديم على ضفة النهر، ومنذ ذلك الحين وأنا أنوي أن أكتب إليك. كانت الحديقة
مهملة تماما: شجيرات شائكة تصل إلى النوافذ، وشجرة تفاح لم يقلمها أحد منذ سنوات، وتحت ذلك كله ممر حجري ينزل إلى الماء. لقد نظفنا
نصفها تقريبا حتى الآن. ماذا تقترح أن نزرع في الركن المظلل خلف المخزن؟ التربة طينية ثقيلة، والغزلان تأكل كل شيء تقريبا.""",
    "Hindi": """पिछले वसंत में हम नदी के किनारे एक पुराने घर में आए, और तब से मैं आपको लिखना चाहता था।
बगीचा बिल्कुल जंगल बन चुका था: खिड़कियों तक काँटेदार झाड़ियाँ, सेब का एक पेड़ जिसे बरसों से किसी ने नहीं छाँटा था,
और उसके नीचे कहीं पानी तक जाता पत्थर का रास्ता।
अब तक हमने लगभग आधा साफ़ कर लिया है। छप्पर के पीछे छायादार कोने में क्या लगाना चाहिए?""",
    "Chinese": """去年春天我们搬进了河边的一座老房子，从那以后我一直想给你写信。花园早已荒芜：荆棘长到了窗边，
一棵苹果树多年没有人修剪，下面还藏着一条通往水边的石子小路。到现在我们大约清理了一半。你觉得棚子后面那个阴凉的角落适合种些什么？土是很重的黏土，到五月
还是湿的，鹿几乎什么都吃。我希望种一些不用太多照料、夏末开花、又不怕霜冻的植物。""",
    "Japanese": """去年の春、川沿いの古い家に引っ越して以来、ずっとあなたに手紙を書こうと思っていました。
庭はすっかり荒れていて、いばらが窓まで伸び、りんごの木は何年も剪定されておらず、その下のどこかに水辺へ下りる石の小道があります。今までに半分ほど片づけました。
物置の裏の日陰には何を植えたらよいでしょうか。土は重い粘土で、五月まで湿っていて、鹿がほとんど何でも食べてしまいます。""",
    "Korean": """지난봄 우리는 강가의 오래된 집으로 이사했고, 그때부터 당신에게 편지를 쓰려고 했습니다.
정원은 완전히 황폐해져 있었습니다. 가시덤불이 창문까지 자랐고, 사과나무는 몇 년 동안 아무도 가지를 치지 않았으며,
그 아래 어딘가에 물가로 내려가는 돌길이 있습니다. 지금까지 절반쯤 치웠습니다. 헛간 뒤 그늘진 곳에는 무엇을 심으면 좋을까요?""",
    "Python": '''class Ledger:
    """Accounts by name, in cents. A transfer is done whole or not at all."""

    def __init__(self, balances: dict[str, int] | None = None) -> None:
        self._balances = dict(balances or {})
        self._lock = threading.Lock()

    def transfer(self, source: str, target: str, cents: int) -> None:
        if cents <= 0:
            raise ValueError(f"{cents} is not an amount that can be moved")
        with self._lock:
            if self._balances.get(source, 0) < cents:
                raise InsufficientFunds(source, self._balances.get(source, 0), cents)
            self._balances[source] -= cents
            self._balances[target] = self._balances.get(target, 0) + cents
''',
    "JavaScript": """export async function loadPage(url, { retries = 3, signal } = {}) {
  for (let attempt = 0; attempt <= retries; attempt++) {
    const response = await fetch(url, { signal, headers: { Accept: 'application/json' } });
    if (response.ok) return (await response.json()).items.map(({ id, title }) => ({ id, title: title.trim() }));
    if (response.status < 500) throw new Error(`Request failed: ${response.status} ${response.statusText}`);
    await new Promise((resolve) => setTimeout(resolve, 2 ** attempt * 100));
  }
}
""",
    "JSON": """{"order_id": "A-10442", "customer": {"name": "Marta Lindqvist", "email": "marta@example.org", "vip": false},
 "items": [{"sku": "KB-87-ISO", "quantity": 1, "price": {"amount": 129.9, "currency": "EUR"}},
           {"sku": "CBL-USBC-2M", "quantity": 3, "price": {"amount": 8.5, "currency": "EUR"}}],
 "shipping": {"method": "standard", "address": {"street": "Storgatan 14", "city": "Lund", "zip": "22350", "country": "SE"}},
 "created_at": "2026-03-14T09:26:53.589Z", "notes": null}
""",
    "Numbers": """2026-01-05  1204.50  1198.20  1211.75  38220
2026-01-06  1198.20  1187.05  1203.40  41907
2026-01-07  1187.10  1192.65  1195.00  29954
2026-01-08  1192.65  1220.80  1224.15  57310
2026-01-09  1221.00  1218.35  1230.90  44186
""",
    "Log lines": """2026-02-11T07:13:42.118Z ERROR [worker-3] c.e.orders.Importer: row 4182 rejected: NumberFormatException
    at java.base/java.lang.Integer.parseInt(Integer.java:668)
    at com.example.orders.Importer.readRow(Importer.java:127)
2026-02-11T07:13:42.120Z INFO  [worker-3] c.e.orders.Importer: 4181 rows imported in 8.402 s, 1 rejected, trace=7f3a9c1e5b2d
""",
    "Identifiers": """3f8e1c9a-52b7-4d0e-9a6f-c17d20b4e583 9b2d4f60a1c84e7b8d35f0126c7ae94d5e8f
https://files.example.org/download/v2/a8Kx0ZpQ7?sig=Qm9vZ2xlc3RyZWV0X2ZyZWU%3D&expires=1767225600&part=12
eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkphbmUgRG9lIn0
""",
    "Markdown": """## How to make sourdough

1. **Feed the starter** in the evening: 50 g flour, 50 g water.
2. In the morning, mix:
   - 400 g bread flour
   - 280 g water (about 28 °C)
   - 80 g starter, 8 g salt
3. *Fold* every 30 minutes, four times; then leave it for 3 hours.

| Step | Time | Temperature |
|------|-----:|------------:|
| Proof | 12 h | 5 °C |
| Bake, covered | 25 min | 250 °C |
| Bake, open | 20 min | 220 °C |

> Tip: if the crust is pale, add 5 minutes. See [the chart](https://example.org/bread#crust).
""",
    "Emoji": """Guess who got the job?! 🎉🎉🎉 I'm so happy 😭❤️ we need to celebrate 🥂🍾 pizza 🍕 or sushi 🍣 tonight? 👀
Bring the dog 🐕‍🦺 and your sister 👩🏽‍🚀 too! See you at 7 🕖🏃🏻‍♀️💨""",
}
